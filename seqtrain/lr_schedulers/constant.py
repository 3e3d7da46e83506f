"""The same rate for every update."""

from dataclasses import dataclass

from typing_extensions import override

from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler


@dataclass(kw_only=True)
class ConstantConfig(LRSchedulerConfig):
    """`optimizer.lr` throughout."""


@register_lr_scheduler("constant", config=ConstantConfig)
class Constant(LRScheduler):
    """peak_lr."""

    @override
    def lr_at(self, num_updates: int) -> float:
        return self.peak_lr
