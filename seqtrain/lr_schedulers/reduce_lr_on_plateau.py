"""A rate that falls when validation stops improving."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import (
    WarmupConfig,
    require_at_most_peak,
    warmup_lr,
)
from seqtrain.option_checks import require_fields


@dataclass(kw_only=True)
class ReduceLROnPlateauConfig(WarmupConfig):
    """After an optional warm-up, multiply the rate by a factor when validation stands still.

    It watches `checkpoint.best_metric` at every validation.
    """

    factor: float = 0.1
    """What the rate is multiplied by, above 0 and at most 1."""

    patience: int = 0
    """Validations in a row without progress that are tolerated."""

    threshold: float = 1e-4
    """Least progress, relative to the best value."""

    cooldown: int = 0
    """Validations after a reduction that are not counted."""

    maximize: bool = False
    """Higher is better; set it as `checkpoint.maximize_best_metric` is."""

    min_lr: float = 0.0
    """The rate does not fall below this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("lr_scheduler", self, "factor", above=0, most=1)
        require_fields("lr_scheduler", self, "patience", "threshold", "cooldown", "min_lr", least=0)


@register_lr_scheduler("reduce_lr_on_plateau", config=ReduceLROnPlateauConfig)
class ReduceLROnPlateau(LRScheduler):
    """max(min_lr, peak_lr * factor ** reductions) after the ramp.

    torch's rule with threshold_mode rel, but for a best value below 0, where torch takes the
    progress to be in the other direction. A value that is not a number is no progress. All that it
    counts is saved.
    """

    def __init__(
        self, config: ReduceLROnPlateauConfig, peak_lr: float, total_updates: int = 0
    ) -> None:
        super().__init__(config, peak_lr, total_updates)
        require_at_most_peak(config, "min_lr", peak_lr)
        self.best: float | None = None
        self.num_bad_validations = 0
        self.cooldown_left = 0
        self.num_reductions = 0

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates <= self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        lr: float = self.peak_lr * self.config.factor**self.num_reductions
        return max(self.config.min_lr, lr)

    @property
    @override
    def follows_validation(self) -> bool:
        return True

    @override
    def report_validation(self, value: float) -> None:
        if self._is_progress(value):
            self.best = value
            self.num_bad_validations = 0
        else:
            self.num_bad_validations += 1
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.num_bad_validations = 0
        if self.num_bad_validations > self.config.patience:
            self.num_reductions += 1
            self.num_bad_validations = 0
            self.cooldown_left = self.config.cooldown

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "num_bad_validations": self.num_bad_validations,
            "cooldown_left": self.cooldown_left,
            "num_reductions": self.num_reductions,
        }

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]
        self.num_bad_validations = state["num_bad_validations"]
        self.cooldown_left = state["cooldown_left"]
        self.num_reductions = state["num_reductions"]

    def _is_progress(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        margin = self.config.threshold * abs(self.best)
        if self.config.maximize:
            return bool(value > self.best + margin)
        return bool(value < self.best - margin)
