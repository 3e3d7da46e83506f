"""Whether a criterion compares with what a task gives."""

from contextlib import suppress

import torch
from torch import Tensor

from seqtrain.criteria.base import CRITERIA, Criterion
from seqtrain.criteria.target_kinds import ANYTHING, target_words
from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext
from seqtrain.tasks.base import Task


def require_fitting_targets(task: Task, criterion: Criterion) -> None:
    """Refuses a criterion, or a member of one, that cannot compare with the task's targets.

    Raises:
        ConfigError: Names both, and the criteria that can.
    """
    targets = task.dataset("train").empty_batch().targets
    for part in criterion.modules():
        if isinstance(part, Criterion) and not part.target_kind.has(targets):
            raise ConfigError(
                f"criterion={part.config.name} compares with {part.target_kind.words}; the targets "
                f"here are {target_words(targets)}. For task={task.config.name} write "
                f"{' or '.join(_fitting(targets, task.context)) or 'a criterion of a plug-in'}."
            )


def _fitting(targets: Tensor, context: ModelContext) -> list[str]:
    """Returns the criteria that can be chosen without more settings."""
    found = []
    for name in CRITERIA.names():
        entry = CRITERIA.get(name)
        if entry.cls.target_kind is ANYTHING or not entry.cls.target_kind.has(targets):
            continue
        # One that cannot be built with its defaults, by whatever plug-in, is only not listed.
        with suppress(Exception), torch.device("meta"):
            entry.cls(entry.config(name=name), context)
            found.append(f"criterion={name}")
    return found
