"""Batches of several datasets as one batch."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.data.vocabulary import PADDING
from seqtrain.errors import DataError

IntArray = npt.NDArray[np.int64]
OWN_PADDING = {"document_ids": -1}


def batch_of_parts(
    indices: IntArray, begins: IntArray, load: Callable[[int, IntArray], Batch]
) -> Batch:
    """Returns one batch of examples from several datasets that stand one after the other.

    Args:
        indices: Which examples, counted over all datasets, [batch].
        begins: Where each dataset begins, and the end of the last one, [datasets + 1].
        load: Gives the batch of a dataset's number and its own indices.

    Returns:
        The batch in the order of the indices, which are its ids.
    """
    owners = np.searchsorted(begins, indices, side="right") - 1
    numbers = np.unique(owners).tolist()
    places = [np.flatnonzero(owners == number) for number in numbers]
    parts = [
        load(number, indices[at] - begins[number])
        for number, at in zip(numbers, places, strict=True)
    ]
    return join_batches(parts, [torch.from_numpy(at) for at in places], indices)


def join_batches(parts: Sequence[Batch], places: Sequence[Tensor], ids: IntArray) -> Batch:
    """Returns the rows of several batches as one, padded to one width.

    Args:
        parts: Batches with the same inputs and extras, one row for each example.
        places: Rows of the result that each part's rows go to, int64 [rows].
        ids: Of the result, [batch].

    Raises:
        DataError: The inputs differ.
    """
    first = parts[0]
    for part in parts:
        if part.inputs.keys() != first.inputs.keys() or part.extras.keys() != first.extras.keys():
            raise DataError(
                f"Datasets with the inputs {sorted(first.inputs)} and {sorted(part.inputs)} "
                "cannot be joined. Join datasets of one kind."
            )

    def join(name: str, tensors: list[Tensor]) -> Tensor:
        return _join(tensors, places, OWN_PADDING.get(name, PADDING))

    targets = join("targets", [part.targets for part in parts])
    inputs = {name: join(name, [part.inputs[name] for part in parts]) for name in first.inputs}
    extras = {name: join(name, [part.extras[name] for part in parts]) for name in first.extras}
    joined_size = _size(inputs, targets) / len(ids)
    positions = sum(
        part.num_positions * joined_size * len(rows) / _size(part.inputs, part.targets)
        for part, rows in zip(parts, places, strict=True)
    )
    return Batch(
        inputs=inputs,
        targets=targets,
        ids=torch.tensor(ids, dtype=torch.int64),
        num_targets=sum(part.num_targets for part in parts),
        num_tokens=sum(part.num_tokens for part in parts),
        # As if all tensors grew alike, which is exact where they have one width.
        num_positions=round(positions),
        extras=extras,
    )


def _size(inputs: dict[str, Tensor], targets: Tensor) -> int:
    return targets.numel() + sum(tensor.numel() for tensor in inputs.values())


def _join(tensors: list[Tensor], places: Sequence[Tensor], padding: int) -> Tensor:
    """Returns the rows of several tensors at their places in one."""
    first = tensors[0]
    if any(tensor.dtype != first.dtype or tensor.dim() != first.dim() for tensor in tensors):
        raise DataError("Datasets whose examples differ in type or rank cannot be joined.")
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    fill = 0 if first.is_floating_point() or first.dtype == torch.bool else padding
    joined = torch.full((sum(map(len, places)), *shape), fill, dtype=first.dtype)
    for tensor, rows in zip(tensors, places, strict=True):
        window = joined
        for dimension, size in enumerate(tensor.shape[1:], start=1):
            window = window.narrow(dimension, 0, size)
        window[rows] = tensor
    return joined
