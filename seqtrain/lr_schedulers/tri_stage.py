"""Warm up, hold, decay exponentially: the schedule of many speech models."""

import math
from dataclasses import dataclass, field

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler
from seqtrain.option_checks import require_fields


@dataclass(kw_only=True)
class TriStageConfig(LRSchedulerConfig):
    """Linear ramp, then the peak held, then an exponential descent (Park et al., 2019)."""

    warmup_updates: int = 0
    """Length of the ramp, in updates."""

    hold_updates: int = 0
    """Length of the stage at the peak, in updates."""

    decay_updates: int = 0
    """Length of the descent, in updates."""

    phase_ratio: list[float] = field(default_factory=list)
    """Instead of the three lengths: their shares of `optimization.max_update`, as [0.1,0.4,0.5]."""

    init_lr_scale: float = 0.01
    """Rate that the ramp begins from, relative to `optimizer.lr`."""

    final_lr_scale: float = 0.01
    """Rate at the end and after it, relative to `optimizer.lr`."""

    def __post_init__(self) -> None:
        counts = ("warmup_updates", "hold_updates", "decay_updates")
        require_fields("lr_scheduler", self, *counts, least=0)
        require_fields("lr_scheduler", self, "init_lr_scale", least=0)
        require_fields("lr_scheduler", self, "final_lr_scale", above=0, most=1)
        if self.phase_ratio and (
            len(self.phase_ratio) != 3
            or min(self.phase_ratio) < 0
            or not math.isclose(sum(self.phase_ratio), 1.0, abs_tol=1e-6)
        ):
            raise ConfigError(
                "lr_scheduler.phase_ratio must be three shares that add up to 1, got "
                f"{list(self.phase_ratio)}."
            )
        lengths = self.warmup_updates + self.hold_updates + self.decay_updates
        if self.phase_ratio and lengths:
            raise ConfigError(
                "lr_scheduler.phase_ratio and the lengths warmup_updates, hold_updates, "
                "decay_updates exclude one another."
            )


@register_lr_scheduler("tri_stage", config=TriStageConfig)
class TriStage(LRScheduler):
    """Ramp, peak_lr, peak_lr * exp(log(final_lr_scale) * t), then the final rate.

    t goes from 0 to 1 over the descent. fairseq's tri_stage at n - 1, but on the ramp, which is at
    n here. A stage of length 0 is left out.
    """

    def __init__(self, config: TriStageConfig, peak_lr: float, total_updates: int = 0) -> None:
        super().__init__(config, peak_lr, total_updates)
        self.warmup_updates = config.warmup_updates
        self.hold_updates = config.hold_updates
        self.decay_updates = config.decay_updates
        if config.phase_ratio:
            self._divide(total_updates)
        elif not self.warmup_updates + self.hold_updates + self.decay_updates:
            raise ConfigError(
                "lr_scheduler=tri_stage needs lr_scheduler.warmup_updates, hold_updates and "
                "decay_updates, or lr_scheduler.phase_ratio."
            )

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates <= self.warmup_updates:
            start = self.peak_lr * self.config.init_lr_scale
            return start + (self.peak_lr - start) * num_updates / self.warmup_updates
        done = num_updates - self.warmup_updates - self.hold_updates - 1
        if done < 0:
            return self.peak_lr
        t = min(1.0, done / self.decay_updates) if self.decay_updates else 1.0
        return self.peak_lr * math.exp(math.log(self.config.final_lr_scale) * t)

    def _divide(self, total_updates: int) -> None:
        if total_updates < 1:
            raise ConfigError(
                "lr_scheduler.phase_ratio needs optimization.max_update, which is not set."
            )
        warmup, hold, _ = self.config.phase_ratio
        self.warmup_updates = int(total_updates * warmup)
        self.hold_updates = int(total_updates * hold)
        self.decay_updates = total_updates - self.warmup_updates - self.hold_updates
