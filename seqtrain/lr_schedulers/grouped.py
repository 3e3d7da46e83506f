"""The run's schedule together with those that parameter groups have of their own."""

from collections.abc import Mapping
from typing import Any, Self

from typing_extensions import override

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.lr_schedulers.base import LR_SCHEDULERS, LRScheduler, LRSchedulerConfig
from seqtrain.optim.base import OptimizerConfig
from seqtrain.optim.groups import OwnSchedule


class GroupedSchedule(LRScheduler):
    """The run's schedule, and own ones by their keys in `OptimizerConfig.own_schedules`.

    Args:
        main: What every group follows that has no own schedule.
        own: The others; all see the same update counts and the same validations.
    """

    def __init__(self, main: LRScheduler, own: Mapping[str, LRScheduler]) -> None:
        super().__init__(main.config, main.peak_lr, main.total_updates)
        self.main = main
        self.own = dict(own)

    @override
    def lr_at(self, num_updates: int) -> float:
        return self.main.lr_at(num_updates)

    @override
    def own_rates(self, num_updates: int) -> dict[str, float]:
        return {key: schedule.lr_at(num_updates) for key, schedule in self.own.items()}

    @property
    @override
    def follows_validation(self) -> bool:
        return any(schedule.follows_validation for schedule in (self.main, *self.own.values()))

    @override
    def with_total(self, total_updates: int) -> Self:
        own = {key: schedule.with_total(total_updates) for key, schedule in self.own.items()}
        return type(self)(self.main.with_total(total_updates), own)

    @override
    def report_validation(self, value: float) -> None:
        for schedule in (self.main, *self.own.values()):
            schedule.report_validation(value)

    @override
    def state_dict(self) -> dict[str, Any]:
        states = {key: schedule.state_dict() for key, schedule in self.own.items()}
        main = self.main.state_dict()
        return {"main": main, "own": states} if main or any(states.values()) else {}

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not state:
            return
        if state.get("own", {}).keys() != self.own.keys():
            raise CheckpointError(
                f"The saved learning rates have own schedules for {sorted(state.get('own', {}))}, "
                f"this run for {sorted(self.own)}."
            )
        self.main.load_state_dict(state["main"])
        for key, schedule in self.own.items():
            schedule.load_state_dict(state["own"][key])


def build_schedule(
    config: LRSchedulerConfig, optimizer: OptimizerConfig, total_updates: int
) -> LRScheduler:
    """Builds the run's schedule, with those that parts of the optimizer have of their own.

    Args:
        config: Section `lr_scheduler`.
        optimizer: Section `optimizer`, which has the peak.
        total_updates: `optimization.max_update`; 0 where the run has no such end.
    """
    main: LRScheduler = LR_SCHEDULERS.get(config.name).cls(config, optimizer.lr, total_updates)
    own = {
        key: _build(f"optimizer.{key}.lr_scheduler", spec, total_updates)
        for key, spec in optimizer.own_schedules().items()
    }
    return GroupedSchedule(main, own) if own else main


def _build(key: str, spec: OwnSchedule, total_updates: int) -> LRScheduler:
    try:
        config = LR_SCHEDULERS.parse(spec.section)
        return LR_SCHEDULERS.get(config.name).cls(config, spec.peak_lr, total_updates)
    except ConfigError as error:  # there are several: say which
        raise ConfigError(f"{key}: {error}") from error
