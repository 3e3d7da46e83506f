"""Averages the weights of checkpoints into a new one, for evaluation and search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.layout import committed, updates_of
from seqtrain.checkpoint.load import LoadedCheckpoint, read_checkpoint
from seqtrain.checkpoint.ranking import read_ranking
from seqtrain.checkpoint.tree import trees_equal
from seqtrain.checkpoint.weights import WEIGHT_PARTS, UsableWeights, usable_weights
from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.option_checks import require_range


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which checkpoints of a folder are meant. Zero: no such condition.

    Args:
        last: The newest so many, of those in the range of updates.
        best: The so many with the best scores, of those in the range; not with `last`.
        from_update: Only those after at least so many updates.
        to_update: Only those after at most so many updates.
    """

    last: int = 0
    best: int = 0
    from_update: int = 0
    to_update: int = 0

    def __post_init__(self) -> None:
        for name in ("last", "best", "from_update", "to_update"):
            require_range(name, getattr(self, name), least=0)
        if self.last and self.best:
            raise ConfigError(f"last={self.last} and best={self.best} exclude each other: set one.")
        if not any((self.last, self.best, self.from_update, self.to_update)):
            raise ConfigError(
                "Say which checkpoints to average: last=5, best=5, or from_update= and to_update=."
            )


def select(directory: Path, selection: Selection) -> list[Path]:
    """Returns the checkpoints of a folder that are meant, newest first (best first with `best`).

    Raises:
        ConfigError: There are fewer than asked for, or none.
        CheckpointError: The folder or its ranking cannot be read.
    """
    upper = selection.to_update or float("inf")
    found = [
        path
        for path in committed(directory)
        if selection.from_update <= (updates_of(path.name) or 0) <= upper
    ]
    asked = selection.last or selection.best
    if selection.best:
        found = _ranked(directory, found)
    if len(found) < max(asked, 1):
        what = f"{asked} {'scored ' if selection.best else ''}checkpoints" if asked else "any"
        raise ConfigError(
            f"{directory} does not hold {what} in the given range, but {len(found)}. Ask for "
            "fewer, or train with more kept: checkpoint.keep_last, checkpoint.keep_best."
        )
    return found[: asked or len(found)]


def average_checkpoints(paths: Sequence[Path], output: Path) -> Path:
    """Writes a checkpoint with the equal average of the weights of several.

    The weights are those that evaluation uses: where a run keeps an average of its own, that. The
    sums are in float64, one checkpoint is in memory at a time, and tensors that are not floating
    point are the newest checkpoint's. What it takes to continue training is left out.

    Args:
        paths: Checkpoints of one model and task.
        output: Folder to write into; the checkpoint is named like the newest of them.

    Returns:
        The new checkpoint.

    Raises:
        CheckpointError: One cannot be read, they do not belong together, or there is another one
            of that name in the folder.
    """
    order = sorted(set(paths), key=lambda path: (updates_of(path.name) or 0, str(path)))
    if not order:
        raise ConfigError("There is no checkpoint to average.")
    newest = _read(order[-1])
    sums = usable_weights(newest.parts)
    totals = [_doubled(sums.model), _doubled(sums.criterion)]
    for path in order[:-1]:
        other = _read(path)
        _require_alike(other, newest)
        weights = usable_weights(other.parts)
        for total, state in zip(totals, (weights.model, weights.criterion), strict=True):
            for name, value in total.items():
                value += state[name]
    means = [
        _means(total, state, len(order))
        for total, state in zip(totals, (sums.model, sums.criterion), strict=True)
    ]
    parts: dict[str, Any] = {name: newest.parts[name] for name in ("config", "task")}
    parts["model"] = means[0]
    if means[1]:
        parts["criterion"] = means[1]
    about = newest.manifest.about | {"average_of": [str(path) for path in order]}
    return write_checkpoint(output, newest.manifest.num_updates, parts, about)


def _read(path: Path) -> LoadedCheckpoint:
    return read_checkpoint(path, names=("config", "task", *WEIGHT_PARTS))


def _ranked(directory: Path, paths: list[Path]) -> list[Path]:
    try:
        scores = read_ranking(directory).scores
    except FileNotFoundError:
        return []
    names = {path.name: path for path in paths}
    return [names[name] for name in scores if name in names]


def _doubled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


def _means(
    totals: Mapping[str, Tensor], state: Mapping[str, Tensor], count: int
) -> dict[str, Tensor]:
    """Returns a state dict with the means in the types of a given one; tied tensors stay tied."""
    done: dict[int, Tensor] = {}
    for name, value in state.items():
        if id(value) not in done:
            mean = (totals[name] / count).to(value.dtype) if name in totals else value
            done[id(value)] = mean
    return {name: done[id(value)] for name, value in state.items()}


def _require_alike(loaded: LoadedCheckpoint, reference: LoadedCheckpoint) -> None:
    """Raises CheckpointError unless both are of one model and task."""
    ours, theirs = usable_weights(loaded.parts), usable_weights(reference.parts)
    is_alike = (
        loaded.parts["config"]["model"] == reference.parts["config"]["model"]
        and trees_equal(loaded.parts["task"], reference.parts["task"])
        and _shapes(ours) == _shapes(theirs)
    )
    if not is_alike:
        raise CheckpointError(
            f"{loaded.path} and {reference.path} cannot be averaged: they are of different models, "
            "vocabularies or criteria."
        )


def _shapes(weights: UsableWeights) -> list[dict[str, torch.Size]]:
    return [
        {name: value.shape for name, value in state.items()}
        for state in (weights.model, weights.criterion)
    ]
