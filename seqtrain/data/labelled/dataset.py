"""Labelled examples as padded batches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain import rng
from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.labelled.store import IGNORED, Example, LabelledStore
from seqtrain.data.vocabulary import PADDING

IntArray = npt.NDArray[np.int64]
Shapes = npt.NDArray[np.int32]


class ExampleTransform(ABC):
    """Changes examples of training, such as a random crop.

    It is picklable, and its text tells its settings: a frozen dataclass has both.
    """

    @abstractmethod
    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """Returns the changed example; the given arrays may be changed in place.

        Args:
            example: Its inputs are scaled.
            generator: Seeded for this example in this epoch.
        """

    def shapes(self, shapes: Shapes) -> Shapes:
        """Returns the positions of examples after the change, [examples, rank], for planning."""
        return shapes

    @property
    def fingerprint(self) -> str:
        """What tells this change from another one."""
        return repr(self)


class LabelledDataset(Dataset):
    """Examples of a store, padded on the right (and below) to one shape.

    Inputs are "values", float32 [batch, *positions, channels], or "tokens", int64 [batch, time],
    and "padding_mask", bool [batch, *positions], True at padding. Targets are int64 [batch] or
    [batch, *positions], -1 where none counts.

    Args:
        store: The examples.
        transform: Changes each example; None for evaluation.
        seed: Of the transform, whose draws are keyed by (seed, epoch, index).
        patch_size: For images with one label each: squares of so many pixels become positions, and
            their pixels channels, row by row; images are padded with zeros to whole squares. 0
            leaves them as they are.
        repeat: How often an epoch has each example.
    """

    def __init__(
        self,
        store: LabelledStore,
        *,
        transform: ExampleTransform | None = None,
        seed: int = 1,
        patch_size: int = 0,
        repeat: int = 1,
    ) -> None:
        self.store = store
        self.transform = transform
        self._seed, self._patch_size, self._repeat = seed, patch_size, repeat

    @override
    def __len__(self) -> int:
        return len(self.store) * self._repeat

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return np.tile(self._lengths(self.store.shapes), (self._repeat, 1))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        return self._lengths(self.store.shapes_at(indices % len(self.store)))

    @property
    @override
    def fingerprint(self) -> str:
        change = self.transform.fingerprint if self.transform else ""
        parts = (self.store.fingerprint, change, self._patch_size, self._repeat)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        examples = self.store.gather(indices % len(self.store))
        if self.transform is not None:
            examples = [
                self.transform(example, np.random.default_rng(rng.key(self._seed, epoch, index)))
                for example, index in zip(examples, indices.tolist(), strict=True)
            ]
        if self._patch_size:
            examples = [_patched(example, self._patch_size) for example in examples]
        return self._collate(examples, indices)

    @override
    def empty_batch(self) -> Batch:
        channels = self.store.num_channels
        rank = self.store.rank
        if self._patch_size:
            channels, rank = channels * self._patch_size**2, 1
        one = (1,) * (1 + rank)
        inputs = (
            {"tokens": torch.full(one, PADDING)}
            if self.store.is_tokens
            else {"values": torch.zeros(*one, channels)}
        )
        inputs["padding_mask"] = torch.zeros(one, dtype=torch.bool)
        return Batch(
            inputs=inputs,
            targets=torch.full(one if self.store.per_position else (1,), IGNORED),
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
        )

    def _lengths(self, shapes: Shapes) -> npt.NDArray[np.int32]:
        if self.transform is not None:
            shapes = self.transform.shapes(shapes)
        if self._patch_size:
            shapes = -(-shapes // self._patch_size)
        return shapes.prod(axis=1, dtype=np.int32)[:, None]

    def _collate(self, examples: Sequence[Example], indices: IntArray) -> Batch:
        rank = 1 if self._patch_size else self.store.rank
        shapes = np.array([example.inputs.shape[:rank] for example in examples])
        padding_mask = _padding_mask(shapes)
        inputs = _padded([example.inputs for example in examples], shapes, self._fill())
        if self.store.per_position:
            targets = _padded([example.labels for example in examples], shapes, IGNORED)
        else:
            targets = torch.from_numpy(np.stack([example.labels for example in examples]))
        return Batch(
            inputs={
                "tokens" if self.store.is_tokens else "values": inputs,
                "padding_mask": torch.from_numpy(padding_mask),
            },
            targets=targets,
            ids=torch.tensor(indices, dtype=torch.int64),
            num_targets=int(targets.ne(IGNORED).sum()),
            num_tokens=int(shapes.prod(axis=1).sum()),
            num_positions=padding_mask.size,
        )

    def _fill(self) -> int:
        return PADDING if self.store.is_tokens else 0


def _padding_mask(shapes: IntArray) -> npt.NDArray[np.bool_]:
    """Returns True outside of each example, [examples, *largest shape]."""
    widest = np.maximum(shapes.max(axis=0), 1)
    mask = np.zeros((len(shapes), *widest), dtype=np.bool_)
    for axis, width in enumerate(widest):
        sizes = shapes[:, axis].reshape(-1, *(1,) * len(widest))
        places = np.arange(width).reshape(-1, *(1,) * (len(widest) - 1 - axis))
        mask |= places >= sizes
    return mask


def _padded(arrays: Sequence[npt.NDArray[Any]], shapes: IntArray, fill: int) -> Tensor:
    widest = np.maximum(shapes.max(axis=0), 1)
    rest = arrays[0].shape[shapes.shape[1] :]
    padded = np.full((len(arrays), *widest, *rest), fill, dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape[: shapes.shape[1]])] = array
    return torch.from_numpy(padded)


def _patched(example: Example, size: int) -> Example:
    """Returns an image [height, width, channels] as [patches, size * size * channels]."""
    height, width, channels = example.inputs.shape
    rows, columns = -(-height // size), -(-width // size)
    image = np.zeros((rows * size, columns * size, channels), dtype=np.float32)
    image[:height, :width] = example.inputs
    squares = image.reshape(rows, size, columns, size, channels).swapaxes(1, 2)
    return Example(squares.reshape(rows * columns, size * size * channels), example.labels)
