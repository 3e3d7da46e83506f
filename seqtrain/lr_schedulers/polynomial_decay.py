"""Linear warm-up, then a descent by a power of what is left."""

from dataclasses import dataclass

from typing_extensions import override

from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import (
    DescentConfig,
    descent_length,
    require_at_most_peak,
    warmup_lr,
)
from seqtrain.option_checks import require_fields


@dataclass(kw_only=True)
class PolynomialDecayConfig(DescentConfig):
    """Linear warm-up, then a linear descent, or one by another power."""

    power: float = 1.0
    """Power of the part of the descent that is left; 1 is a straight line."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("lr_scheduler", self, "power", least=0)


@dataclass(kw_only=True)
class PolyConfig(PolynomialDecayConfig):
    """The polynomial descent with the power that is usual in segmentation."""

    power: float = 0.9
    """Power of the part of the descent that is left."""


@register_lr_scheduler("poly", config=PolyConfig)
@register_lr_scheduler("polynomial_decay", config=PolynomialDecayConfig)
class PolynomialDecay(LRScheduler):
    """(peak_lr - min_lr) * (1 - t) ** power + min_lr, with t from 0 to 1 over the descent.

    fairseq's polynomial_decay at n - 1, with total_num_update = warmup_updates + decay_updates and
    end_learning_rate = min_lr; torch's PolynomialLR with total_iters = decay_updates.
    """

    def __init__(
        self, config: PolynomialDecayConfig, peak_lr: float, total_updates: int = 0
    ) -> None:
        super().__init__(config, peak_lr, total_updates)
        require_at_most_peak(config, "min_lr", peak_lr)
        self.decay_updates = descent_length(config, total_updates)

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates <= self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        left = 1.0 - (num_updates - self.config.warmup_updates - 1) / self.decay_updates
        if left <= 0.0:
            return self.config.min_lr
        return (self.peak_lr - self.config.min_lr) * left**self.config.power + self.config.min_lr
