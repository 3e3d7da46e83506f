"""A constant rate after a linear warm-up."""

from dataclasses import dataclass

from typing_extensions import override

from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import WarmupConfig, warmup_lr


@dataclass(kw_only=True)
class FixedConfig(WarmupConfig):
    """The same rate throughout, after an optional linear warm-up."""


@register_lr_scheduler("fixed", config=FixedConfig)
class Fixed(LRScheduler):
    """peak_lr * min(1, n / warmup_updates).

    fairseq's fixed warms up with the same (count + 1) / warmup_updates; its force_anneal, which
    goes by epochs, is not here: lr_scheduler=step or manual go by updates.
    """

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates < self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        return self.peak_lr
