"""One rise and one long fall: the 1cycle policy."""

import math
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler

_SHAPES = ("cos", "linear")


@dataclass(kw_only=True)
class OneCycleConfig(LRSchedulerConfig):
    """A rise to `optimizer.lr`, then a fall far below where it began (Smith and Topin, 2019)."""

    total_updates: int = 0
    """Length of the whole, in updates; 0 means `optimization.max_update`."""

    pct_start: float = 0.3
    """Share of the rise."""

    anneal_strategy: str = "cos"
    """cos or linear: the shape of both parts."""

    div_factor: float = 25.0
    """The first rate is `optimizer.lr` divided by this."""

    final_div_factor: float = 1e4
    """The last rate is the first divided by this."""

    def __post_init__(self) -> None:
        if self.total_updates < 0:
            raise ConfigError(
                f"lr_scheduler.total_updates must not be negative, got {self.total_updates}."
            )
        if not 0.0 <= self.pct_start <= 1.0:
            raise ConfigError(f"lr_scheduler.pct_start must be from 0 to 1, got {self.pct_start}.")
        if self.anneal_strategy not in _SHAPES:
            raise ConfigError(
                f"lr_scheduler.anneal_strategy must be cos or linear, got {self.anneal_strategy!r}."
            )
        for name in ("div_factor", "final_div_factor"):
            value = getattr(self, name)
            if not (value >= 1 and math.isfinite(value)):
                raise ConfigError(f"lr_scheduler.{name} must be at least 1, got {value}.")


@register_lr_scheduler("one_cycle", config=OneCycleConfig)
class OneCycle(LRScheduler):
    """torch's OneCycleLR at n - 1, in two phases, with the momentum left alone.

    The rise ends at update pct_start * total_updates, the fall at the last update. After that the
    last rate stays, where torch raises. A phase of length 0 is left out, where torch divides by 0.
    """

    def __init__(self, config: OneCycleConfig, peak_lr: float, total_updates: int = 0) -> None:
        super().__init__(config, peak_lr, config.total_updates or total_updates)
        if self.total_updates < 1:
            raise ConfigError(
                "lr_scheduler=one_cycle needs an end: set lr_scheduler.total_updates or "
                "optimization.max_update."
            )

    @override
    def lr_at(self, num_updates: int) -> float:
        done = num_updates - 1
        rise = max(0.0, self.config.pct_start * self.total_updates - 1.0)
        fall = self.total_updates - 1.0 - rise
        first = self.peak_lr / self.config.div_factor
        if done < rise:
            return self._between(first, self.peak_lr, done / rise)
        part = min(1.0, (done - rise) / fall) if fall > 0 else float(done > rise)
        return self._between(self.peak_lr, first / self.config.final_div_factor, part)

    def _between(self, start: float, end: float, part: float) -> float:
        if self.config.anneal_strategy == "linear":
            return start + (end - start) * part
        return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part))
