"""Warm up, stay at the peak for most of the run, descend at its end."""

import math
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import (
    WarmupConfig,
    require_at_most_peak,
    warmup_lr,
)
from seqtrain.option_checks import require_choice, require_fields

_SHAPES = ("linear", "cosine", "sqrt")


@dataclass(kw_only=True)
class WarmupStableDecayConfig(WarmupConfig):
    """Linear warm-up, the peak, then a descent that ends with the run (Hu et al., 2024)."""

    stable_updates: int = 0
    """Length of the stage at the peak, in updates; 0 means what the other two leave of
    `optimization.max_update`."""

    decay_updates: int = 0
    """Length of the descent, in updates; 0 means a tenth of `optimization.max_update`."""

    decay_shape: str = "linear"
    """linear: 1 - t; cosine: half a wave; sqrt: 1 - sqrt(t). t goes from 0 to 1."""

    min_lr: float = 0.0
    """Rate at the end of the descent and after it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("lr_scheduler", self, "stable_updates", "decay_updates", "min_lr", least=0)
        require_choice("lr_scheduler.decay_shape", self.decay_shape, _SHAPES)


@register_lr_scheduler("warmup_stable_decay", config=WarmupStableDecayConfig)
class WarmupStableDecay(LRScheduler):
    """min_lr + (peak_lr - min_lr) * shape(t), with t = 0 until the descent begins."""

    def __init__(
        self, config: WarmupStableDecayConfig, peak_lr: float, total_updates: int = 0
    ) -> None:
        super().__init__(config, peak_lr, total_updates)
        require_at_most_peak(config, "min_lr", peak_lr)
        self.decay_updates = config.decay_updates or -(-total_updates // 10)
        spent = config.warmup_updates + self.decay_updates
        self.stable_updates = config.stable_updates or total_updates - spent
        if self.decay_updates < 1 or self.stable_updates < 0:
            raise ConfigError(
                "lr_scheduler=warmup_stable_decay does not fit: set optimization.max_update "
                f"({total_updates}) to at least warmup_updates ({config.warmup_updates}) plus "
                f"decay_updates ({self.decay_updates}), or set lr_scheduler.stable_updates and "
                "lr_scheduler.decay_updates."
            )

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates <= self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        done = num_updates - self.config.warmup_updates - self.stable_updates - 1
        t = min(1.0, max(0.0, done / self.decay_updates))
        return self.config.min_lr + (self.peak_lr - self.config.min_lr) * self._shape(t)

    def _shape(self, t: float) -> float:
        if self.config.decay_shape == "linear":
            return 1.0 - t
        if self.config.decay_shape == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * t))
        return 1.0 - math.sqrt(t)
