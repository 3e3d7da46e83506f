"""What a resumed run may have different from the checkpoint that it continues."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqtrain.errors import CheckpointError, ConfigError, DataError
from seqtrain.lr_schedulers.base import LRScheduler
from seqtrain.tasks.base import Task
from seqtrain.training.run_config import RunConfig, changed_keys, may_change_on_resume


def check_config(saved: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Returns lines on settings that changed, or refuses those that would change the result.

    Raises:
        ConfigError: A key outside `CHANGEABLE_ON_RESUME` differs.
        CheckpointError: What was saved is no configuration.
    """
    try:
        # Parsed, so that settings which the writing version did not know have their defaults.
        before = RunConfig.parse(saved).to_container()
    except ConfigError as error:
        raise CheckpointError(f"in its configuration: {error}") from error
    changes = changed_keys(before, config.to_container())
    refused = {key: pair for key, pair in changes.items() if not may_change_on_resume(key)}
    if refused:
        listed = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in refused.items())
        raise ConfigError(
            f"{config.run_dir} holds a run with other settings: {listed}. Set them back to "
            "continue it, or take another run_dir (with checkpoint.init_from= to begin from its "
            "weights)."
        )
    return [
        f"changed since the checkpoint: {key} {old!r} -> {new!r}"
        for key, (old, new) in changes.items()
        if key not in ("run_dir", "debug")
    ]


def check_task(saved: Mapping[str, Any], task: Task) -> None:
    """Refuses a vocabulary or tokenizer that is not the one that the checkpoint was trained with.

    Raises:
        DataError: They differ; the message says where.
    """
    difference = first_difference(saved, task.state_dict(), "task")
    if difference:
        raise DataError(
            f"The data differs from what the run was trained on, at {difference}. Set task.data "
            "to the folder of before, or take another run_dir."
        )


def schedule_change(saved_max_update: int, scheduler: LRScheduler, num_updates: int) -> list[str]:
    """Returns a line on what a changed optimization.max_update does to the learning rate."""
    try:
        old_lr = scheduler.with_total(saved_max_update).lr_at(num_updates + 1)
    except ConfigError:
        return []
    new_lr = scheduler.lr_at(num_updates + 1)
    if old_lr == new_lr:
        return ["the changed max_update leaves the learning rate as it was"]
    return [
        f"the changed max_update moves the learning rate of update {num_updates + 1} "
        f"from {old_lr:.4g} to {new_lr:.4g}"
    ]


def first_difference(saved: object, current: object, path: str) -> str:
    """Returns where two trees of plain values and tensors first differ, or an empty text."""
    if isinstance(saved, Tensor) and isinstance(current, Tensor):
        same = saved.shape == current.shape and bool(torch.equal(saved, current))
        return "" if same else f"{path} (other content)"
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        for key in sorted(saved.keys() | current.keys()):
            found = first_difference(saved.get(key), current.get(key), f"{path}.{key}")
            if found:
                return found
        return ""
    if isinstance(saved, list | tuple) and isinstance(current, list | tuple):
        for index, (old, new) in enumerate(zip(saved, current, strict=False)):
            found = first_difference(old, new, f"{path}[{index}]")
            if found:
                return found
        if len(saved) != len(current):
            return f"{path} ({len(saved)} entries, now {len(current)})"
        return ""
    return "" if saved == current else f"{path} ({saved!r}, now {current!r})"
