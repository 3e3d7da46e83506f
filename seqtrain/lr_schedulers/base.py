"""What a learning-rate schedule is: the rate of update n as a function of n."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class LRSchedulerConfig(ComponentConfig):
    """Base of every schedule's config."""


class LRScheduler(ABC):
    """Base of every schedule.

    Args:
        config: The dataclass that the class was registered with.
        peak_lr: `optimizer.lr`, the one rate that a user sets.
        total_updates: `optimization.max_update`; 0 where the run has no such end.
    """

    def __init__(self, config: Any, peak_lr: float, total_updates: int = 0) -> None:
        self.config = config
        self.peak_lr = peak_lr
        self.total_updates = total_updates

    @abstractmethod
    def lr_at(self, num_updates: int) -> float:
        """Returns the rate that update number `num_updates` uses; the first update is 1."""

    def own_rates(self, num_updates: int) -> dict[str, float]:
        """Returns the rates of schedules besides the run's, by `OptimizerConfig.own_schedules`."""
        return {}

    @property
    def follows_validation(self) -> bool:
        """Whether the rates depend on what validation finds."""
        return False

    def with_total(self, total_updates: int) -> Self:
        """Returns the same schedule, from its beginning, in a run of another length."""
        return type(self)(self.config, self.peak_lr, total_updates)

    def report_validation(self, value: float) -> None:  # noqa: B027 # most schedules ignore it
        """Takes the best-model metric after a validation; for schedules that wait for progress."""

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values; empty for a pure function of the update count."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 # nothing to load
        """Restores what `state_dict` returned."""


LR_SCHEDULERS: Registry[LRScheduler] = Registry("lr_scheduler", LRScheduler)
register_lr_scheduler = LR_SCHEDULERS.register
