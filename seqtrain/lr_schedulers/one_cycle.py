"""One rise and one long fall: the 1cycle policy."""

import math
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler
from seqtrain.option_checks import require_choice, require_fields, require_range

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
        require_range("lr_scheduler.total_updates", self.total_updates, least=0)
        require_range("lr_scheduler.pct_start", self.pct_start, least=0, most=1)
        require_choice("lr_scheduler.anneal_strategy", self.anneal_strategy, _SHAPES)
        require_fields("lr_scheduler", self, "div_factor", "final_div_factor", least=1)


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
