"""Rates that fall by a factor: at intervals, at given updates, or at every update."""

from abc import abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, field

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LRScheduler, register_lr_scheduler
from seqtrain.lr_schedulers.warmup import (
    WarmupConfig,
    require_at_most_peak,
    warmup_lr,
)
from seqtrain.option_checks import require_fields, require_range


@dataclass(kw_only=True)
class FactorConfig(WarmupConfig):
    """Base of the configs of schedules that multiply the rate by a factor again and again."""

    gamma: float = 0.1
    """The factor, above 0 and at most 1."""

    min_lr: float = 0.0
    """The rate does not fall below this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("lr_scheduler", self, "gamma", above=0, most=1)
        require_fields("lr_scheduler", self, "min_lr", least=0)


@dataclass(kw_only=True)
class StepConfig(FactorConfig):
    """After the warm-up, the rate is multiplied by `gamma` at regular intervals."""

    gamma: float = 0.5
    """The factor, above 0 and at most 1."""

    step_updates: int = 25000
    """Updates between two changes; the first comes so many updates after the warm-up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("lr_scheduler.step_updates", self.step_updates, least=1)


@dataclass(kw_only=True)
class MultiStepConfig(FactorConfig):
    """The rate is multiplied by `gamma` after each of the given updates."""

    milestones: list[int] = field(default_factory=lambda: [50000, 75000])
    """Updates, counted from the run's beginning, after which the rate changes; rising."""

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = zip(self.milestones, self.milestones[1:], strict=False)
        if not self.milestones or any(a > b for a, b in pairs) or self.milestones[0] < 0:
            raise ConfigError(
                "lr_scheduler.milestones must be rising update counts, got "
                f"{list(self.milestones)}."
            )


@dataclass(kw_only=True)
class ExponentialConfig(FactorConfig):
    """After the warm-up, the rate is multiplied by `gamma` at every update."""

    gamma: float = 0.9999
    """The factor, above 0 and at most 1."""


class _Factor(LRScheduler):
    def __init__(self, config: FactorConfig, peak_lr: float, total_updates: int = 0) -> None:
        super().__init__(config, peak_lr, total_updates)
        require_at_most_peak(config, "min_lr", peak_lr)

    @override
    def lr_at(self, num_updates: int) -> float:
        if num_updates <= self.config.warmup_updates:
            return warmup_lr(self.config, self.peak_lr, num_updates)
        lr: float = self.peak_lr * self.config.gamma ** self.num_changes(num_updates)
        return max(self.config.min_lr, lr)

    @abstractmethod
    def num_changes(self, num_updates: int) -> int:
        """Returns how often the rate was multiplied before this update."""


@register_lr_scheduler("step", config=StepConfig)
class Step(_Factor):
    """peak_lr * gamma ** floor((n - warmup_updates - 1) / step_updates), at least min_lr.

    torch's StepLR at n - 1; fairseq's step has the same period and counts it from the run's
    beginning, not from the end of the warm-up.
    """

    @override
    def num_changes(self, num_updates: int) -> int:
        return int((num_updates - self.config.warmup_updates - 1) // self.config.step_updates)


@register_lr_scheduler("multi_step", config=MultiStepConfig)
class MultiStep(_Factor):
    """peak_lr * gamma ** (number of milestones < n): torch's MultiStepLR at n - 1.

    With a warm-up it is the SANWarmupMultiStepLR that a revision of BasicTS had.
    """

    @override
    def num_changes(self, num_updates: int) -> int:
        return bisect_right(self.config.milestones, num_updates - 1)


@register_lr_scheduler("exponential", config=ExponentialConfig)
class Exponential(_Factor):
    """peak_lr * gamma ** (n - warmup_updates - 1), at least min_lr: torch's ExponentialLR."""

    @override
    def num_changes(self, num_updates: int) -> int:
        return int(num_updates - self.config.warmup_updates - 1)
