"""Rates that the user lists."""

import math
from bisect import bisect_right
from dataclasses import dataclass, field

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler


@dataclass(kw_only=True)
class ManualConfig(LRSchedulerConfig):
    """Rates by the updates that they begin with, as from_updates=[1,1000] factors=[1,0.1]."""

    from_updates: list[int] = field(default_factory=lambda: [1])
    """First update of each rate; rising, and the first one is 1."""

    factors: list[float] = field(default_factory=lambda: [1.0])
    """Each rate relative to `optimizer.lr`."""

    def __post_init__(self) -> None:
        pairs = zip(self.from_updates, self.from_updates[1:], strict=False)
        if not self.from_updates or self.from_updates[0] != 1 or any(a >= b for a, b in pairs):
            raise ConfigError(
                "lr_scheduler.from_updates must rise and begin with 1, got "
                f"{list(self.from_updates)}."
            )
        if len(self.factors) != len(self.from_updates):
            raise ConfigError(
                f"lr_scheduler.factors has {len(self.factors)} values, from_updates "
                f"{len(self.from_updates)}: they must be as many."
            )
        if not all(factor >= 0 and math.isfinite(factor) for factor in self.factors):
            raise ConfigError(
                f"lr_scheduler.factors must not be negative, got {list(self.factors)}."
            )


@register_lr_scheduler("manual", config=ManualConfig)
class Manual(LRScheduler):
    """peak_lr times the factor whose range holds n."""

    @override
    def lr_at(self, num_updates: int) -> float:
        return self.peak_lr * float(
            self.config.factors[bisect_right(self.config.from_updates, num_updates) - 1]
        )
