"""Warm-up, then decay with the inverse square root of the update count."""

import math
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import WarmupConfig, warmup_lr
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class InverseSqrtConfig(WarmupConfig):
    """Linear warm-up, then decay with the inverse square root of the update count."""

    warmup_updates: int = 4000
    """Length of the linear ramp up to `optimizer.lr`, in updates; at least 1."""

    def __post_init__(self) -> None:
        require_range("lr_scheduler.warmup_updates", self.warmup_updates, least=1)
        super().__post_init__()


@register_lr_scheduler("inverse_sqrt", config=InverseSqrtConfig)
class InverseSqrt(LRScheduler):
    """peak_lr * sqrt(warmup_updates / n) after the ramp.

    Schedule of Vaswani et al. (2017), section 5.3, without the model-size factor. fairseq's rate of
    update n is this one's of n - 1.
    """

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates < self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        return self.peak_lr * math.sqrt(self.config.warmup_updates / num_updates)
