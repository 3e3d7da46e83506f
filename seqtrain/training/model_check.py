"""Whether a model reads what a task gives."""

import inspect
from collections.abc import Collection
from contextlib import suppress

import torch

from seqtrain.errors import ConfigError, UnfitModelError
from seqtrain.models.base import MODELS, Model
from seqtrain.tasks.base import Task


def require_fitting_inputs(task: Task, name: str, model: Model) -> None:
    """Refuses a model that does not take what the task's batches hold, or that needs more.

    Raises:
        ConfigError: Names both, and the models that can be chosen.
    """
    inputs = task.dataset("train").empty_batch().inputs
    if not _takes(model, inputs):
        raise ConfigError(f"model={name} reads other inputs. {fitting_models(task)}")


def unfit_model(error: UnfitModelError, task: Task) -> ConfigError:
    """Returns the error of a model that needs more than the task tells, with those that do not."""
    return ConfigError(f"{error} {fitting_models(task)}")


def fitting_models(task: Task) -> str:
    """Returns a sentence with the models that a task can be given, as they are written."""
    inputs = task.dataset("train").empty_batch().inputs
    found = []
    for name in MODELS.names():
        entry = MODELS.get(name)
        # One that cannot be built with its defaults, by whatever plug-in, is only not listed.
        with suppress(Exception), torch.device("meta"):
            if _takes(entry.cls.from_config(entry.config(name=name), task.context), inputs):
                found.append(f"model={name}")
    return f"For task={task.config.name} write {' or '.join(found) or 'a model of a plug-in'}."


def _takes(model: Model, inputs: Collection[str]) -> bool:
    try:
        inspect.signature(model.forward).bind(**dict.fromkeys(inputs))
    except TypeError:
        return False
    return True
