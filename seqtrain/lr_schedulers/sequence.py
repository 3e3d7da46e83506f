"""Schedules one after another."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import (
    LR_SCHEDULERS,
    LRScheduler,
    LRSchedulerConfig,
    register_lr_scheduler,
)


@dataclass(kw_only=True)
class SequenceConfig(LRSchedulerConfig):
    """Schedules one after another, each with its own settings and its length in `updates`.

    As sections=[{name:fixed,warmup_updates:100,updates:1000},{name:cosine}]; only the last one may
    do without a length: it goes on to the end of the run.
    """

    sections: list[dict[str, Any]] = field(
        default_factory=lambda: [{"name": "fixed", "warmup_updates": 1000}]
    )
    """Sections as `lr_scheduler` itself has them, with `updates` besides."""

    def __post_init__(self) -> None:
        if not self.sections:
            raise ConfigError("lr_scheduler.sections must hold at least one schedule.")
        for index, section in enumerate(self.sections):
            updates = section.get("updates", 0)
            is_last = index == len(self.sections) - 1
            is_count = isinstance(updates, int) and not isinstance(updates, bool)
            if not is_count or updates < 0 or (updates == 0 and not is_last):
                raise ConfigError(
                    f"lr_scheduler.sections[{index}].updates must be a number of updates of at "
                    f"least 1, got {updates!r}; only the last section may go without."
                )


@register_lr_scheduler("sequence", config=SequenceConfig)
class Sequence(LRScheduler):
    """Each schedule counts its updates from 1, and takes its length for the run's."""

    def __init__(self, config: SequenceConfig, peak_lr: float, total_updates: int = 0) -> None:
        super().__init__(config, peak_lr, total_updates)
        lengths = [section.get("updates", 0) for section in config.sections]
        self.starts = [0, *accumulate(lengths[:-1])]
        lengths[-1] = lengths[-1] or max(0, total_updates - self.starts[-1])
        self.schedules = [
            _build(section, peak_lr, length)
            for section, length in zip(config.sections, lengths, strict=True)
        ]
        self._newest_update = 1

    @override
    def lr_at(self, num_updates: int) -> float:
        self._newest_update = num_updates
        index = self._section_of(num_updates)
        return self.schedules[index].lr_at(num_updates - self.starts[index])

    @property
    @override
    def follows_validation(self) -> bool:
        return any(schedule.follows_validation for schedule in self.schedules)

    @override
    def report_validation(self, value: float) -> None:
        self.schedules[self._section_of(self._newest_update)].report_validation(value)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "newest_update": self._newest_update,
            "sections": [schedule.state_dict() for schedule in self.schedules],
        }

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._newest_update = state["newest_update"]
        for schedule, saved in zip(self.schedules, state["sections"], strict=True):
            schedule.load_state_dict(saved)

    def _section_of(self, num_updates: int) -> int:
        return bisect_right(self.starts, num_updates - 1) - 1


def _build(section: Mapping[str, Any], peak_lr: float, length: int) -> LRScheduler:
    config = LR_SCHEDULERS.parse({key: section[key] for key in section if key != "updates"})
    schedule: LRScheduler = LR_SCHEDULERS.get(config.name).cls(config, peak_lr, length)
    return schedule
