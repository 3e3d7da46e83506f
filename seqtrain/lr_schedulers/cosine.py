"""Linear warm-up, then a cosine from the peak down to a minimum, once or in cycles."""

import math
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import (
    DescentConfig,
    descent_length,
    require_at_most_peak,
    warmup_lr,
)
from seqtrain.option_checks import require_fields, require_range


@dataclass(kw_only=True)
class CosineConfig(DescentConfig):
    """Linear warm-up, then half a cosine from `optimizer.lr` down to `min_lr`, in cycles."""

    cycles: int = 1
    """Descents, each beginning at the peak again; 0 for no end, which needs `period_updates`."""

    period_updates: int = 0
    """Length of the first descent, in updates; 0 divides `decay_updates` among the cycles."""

    t_mult: float = 1.0
    """Every descent is this many times as long as the one before; at least 1."""

    lr_shrink: float = 1.0
    """Every descent has peak and `min_lr` multiplied by this; 1 for no change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("lr_scheduler", self, "lr_shrink", above=0, most=1)
        if self.cycles < 0 or self.period_updates < 0:
            raise ConfigError(
                f"lr_scheduler.cycles ({self.cycles}) and lr_scheduler.period_updates "
                f"({self.period_updates}) must not be negative."
            )
        require_range("lr_scheduler.t_mult", self.t_mult, least=1)
        if self.cycles == 0 and not self.period_updates:
            raise ConfigError(
                "lr_scheduler.cycles=0 goes on for ever: set lr_scheduler.period_updates."
            )
        if self.period_updates and self.decay_updates:
            raise ConfigError(
                "lr_scheduler.period_updates and lr_scheduler.decay_updates exclude one another."
            )


@register_lr_scheduler("cosine", config=CosineConfig)
class Cosine(LRScheduler):
    """min_lr + (peak_lr - min_lr) * (1 + cos(pi * t)) / 2, with t from 0 to 1 over a descent.

    Loshchilov and Hutter (2017), equation 5. fairseq's cosine with lr_period_updates = T, t_mult
    and lr_shrink is `period_updates=T cycles=0` here; torch's CosineAnnealingLR with T_max = T is
    `decay_updates=T`, without its rise after T.
    """

    def __init__(self, config: CosineConfig, peak_lr: float, total_updates: int = 0) -> None:
        super().__init__(config, peak_lr, total_updates)
        require_at_most_peak(config, "min_lr", peak_lr)
        self.period: float = config.period_updates
        if not self.period:
            units = sum(config.t_mult**cycle for cycle in range(config.cycles))
            self.period = descent_length(config, total_updates) / units

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates <= self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        cycle, t = self._position(num_updates - self.config.warmup_updates - 1)
        wave = 0.5 * (1.0 + math.cos(math.pi * t))
        lr = self.config.min_lr + (self.peak_lr - self.config.min_lr) * wave
        return lr * self.config.lr_shrink**cycle

    def _position(self, done: int) -> tuple[int, float]:
        """Returns the number of the descent and how much of it is done, from 0 to 1."""
        cycle, left, length = 0, float(done), self.period
        if self.config.t_mult == 1.0:
            cycle = int(done / self.period)
            left = max(0.0, done - cycle * self.period)
        else:
            while left >= length and (cycle + 1 < self.config.cycles or not self.config.cycles):
                cycle, left, length = cycle + 1, left - length, length * self.config.t_mult
        if self.config.cycles and cycle >= self.config.cycles:
            return self.config.cycles - 1, 1.0
        return cycle, min(1.0, left / length)
