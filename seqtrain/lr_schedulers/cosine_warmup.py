"""The two cosine schedules of BasicTS, with a minimum."""

import math
from abc import abstractmethod
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import (
    DescentConfig,
    descent_length,
    require_at_most_peak,
    warmup_lr,
)
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class CosineWarmupConfig(DescentConfig):
    """Linear warm-up, then a cosine that may rise again."""

    cycles: float = 0.5
    """Whole waves in the descent; 0.5 goes down once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("lr_scheduler.cycles", self.cycles, above=0)


@dataclass(kw_only=True)
class CosineWarmupRestartsConfig(DescentConfig):
    """Linear warm-up, then descents of equal length that each begin at the peak."""

    cycles: int = 1
    """Descents up to the end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("lr_scheduler.cycles", self.cycles, least=1)


class _CosineOfProgress(LRScheduler):
    def __init__(self, config: DescentConfig, peak_lr: float, total_updates: int = 0) -> None:
        super().__init__(config, peak_lr, total_updates)
        require_at_most_peak(config, "min_lr", peak_lr)
        self.decay_updates = descent_length(config, total_updates)

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates <= self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        progress = (num_updates - self.config.warmup_updates - 1) / self.decay_updates
        wave = 0.5 * (1.0 + math.cos(math.pi * self.half_waves(progress)))
        return self.config.min_lr + (self.peak_lr - self.config.min_lr) * wave

    @abstractmethod
    def half_waves(self, progress: float) -> float:
        """Returns how many half waves are done when this part of the descent is; it may be > 1."""


@register_lr_scheduler("cosine_warmup", config=CosineWarmupConfig)
class CosineWarmup(_CosineOfProgress):
    """min_lr + (peak_lr - min_lr) * (1 + cos(2 * pi * cycles * p)) / 2, with p from 0 to 1.

    BasicTS's CosineWarmup has p = (s - W) / (T - W) at s = n - 1 and no minimum; it goes on waving
    after the end, where this stays.
    """

    @override
    def half_waves(self, progress: float) -> float:
        return 2.0 * self.config.cycles * min(1.0, progress)


@register_lr_scheduler("cosine_warmup_restarts", config=CosineWarmupRestartsConfig)
class CosineWarmupRestarts(_CosineOfProgress):
    """min_lr + (peak_lr - min_lr) * (1 + cos(pi * (cycles * p mod 1))) / 2; min_lr after the end.

    BasicTS's CosineWarmupRestarts has p = (s - W) / (T - W) at s = n - 1 and no minimum.
    """

    @override
    def half_waves(self, progress: float) -> float:
        return 1.0 if progress >= 1.0 else (self.config.cycles * progress) % 1.0
