"""A trained model with its task, from a checkpoint, and models that must fit together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from seqtrain.checkpoint.load import applying, read_named
from seqtrain.checkpoint.weights import WEIGHT_PARTS, usable_weights
from seqtrain.criteria.base import Criterion
from seqtrain.errors import ConfigError
from seqtrain.models.base import DecoderModel, Model
from seqtrain.tasks.base import Task
from seqtrain.training.answers.saved_run import read_run
from seqtrain.training.build import build_criterion, build_model
from seqtrain.training.run_config import RunConfig


@dataclass(frozen=True)
class TrainedModel:
    """What a checkpoint holds, ready for use on a device."""

    config: RunConfig
    task: Task
    model: Model
    criterion: Criterion
    path: Path
    """The checkpoint."""


def read_trained(
    path: str | Path, device: torch.device, data: str = "", key: str = "checkpoint"
) -> TrainedModel:
    """Reads a checkpoint, with the average of the weights if the run keeps one.

    Args:
        path: Run directory (its best checkpoint), folder of checkpoints, or one checkpoint.
        device: Where the model is used.
        data: Folder of the splits, in the place of the run's own.
        key: Setting that named the path, for messages.

    Raises:
        CheckpointError: It cannot be read.
    """
    loaded = read_named(Path(path), key, names=("config", "task", *WEIGHT_PARTS))
    config, task = read_run(loaded)
    if data:
        config = replace(config, task=replace(config.task, data=data))
    with applying(loaded.path):
        model = build_model(config, task.context)
        criterion = build_criterion(config, task.context)
        weights = usable_weights(loaded.parts)
        model.load_state_dict(weights.model)
        criterion.load_state_dict(weights.criterion)
    return TrainedModel(
        config, task, model.to(device).eval(), criterion.to(device).eval(), loaded.path
    )


def require_ensemble(first: TrainedModel, others: Sequence[TrainedModel]) -> None:
    """Refuses models whose probabilities cannot be averaged.

    Raises:
        ConfigError: Another task, or other symbols, or a task that generates no text.
    """
    if others and first.task.predicts:
        raise ConfigError(
            f"checkpoint names several models, and task={first.config.task.name} predicts: only "
            "models that generate text make an ensemble. Name one."
        )
    for other in others:
        if other.config.task.name != first.config.task.name:
            raise ConfigError(
                f"checkpoint: {other.path} is of task={other.config.task.name} and {first.path} "
                f"of task={first.config.task.name}. An ensemble needs models of one task."
            )
        theirs = other.task.vocabularies()
        for side, symbols in first.task.vocabularies().items():
            difference = _difference(symbols, theirs[side])
            if difference:
                raise ConfigError(
                    f"checkpoint: {other.path} has another {side} vocabulary than {first.path}: "
                    f"{difference}. An ensemble needs models that were trained on the same data."
                )


def require_language_model(first: TrainedModel, language: TrainedModel) -> None:
    """Refuses a language model that cannot be asked for the symbols of a model's outputs.

    Raises:
        ConfigError: It is none, or has other symbols.
    """
    if not isinstance(language.model, DecoderModel):
        raise ConfigError(
            f"language_model: {language.path} is of model={language.config.model.name}. Name a "
            "run of task=language_modeling."
        )
    difference = _difference(
        first.task.vocabularies().get("target", []), language.task.vocabularies()["target"]
    )
    if difference:
        raise ConfigError(
            f"language_model: {language.path} has another vocabulary than the outputs of "
            f"{first.path}: {difference}. Train it on text of the same vocabulary."
        )


def _difference(symbols: Sequence[str], others: Sequence[str]) -> str:
    """Says where two vocabularies first differ; empty if they do not."""
    for index, (one, other) in enumerate(zip(symbols, others, strict=False)):
        if one != other:
            return f"symbol {index} is {other!r} and not {one!r}"
    if len(symbols) != len(others):
        return f"it has {len(others)} symbols and not {len(symbols)}"
    return ""
