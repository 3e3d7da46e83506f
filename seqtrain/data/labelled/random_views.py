"""Random pieces of labelled examples, mirrored and resized, for training."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.data.labelled.dataset import ExampleTransform, Shapes
from seqtrain.data.labelled.store import Example, LabelledStore

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RandomView(ExampleTransform):
    """A resized, mirrored random piece of an example with a label for each position.

    Args:
        crop: Positions of the piece along each side; 0 for all.
        flips: Axes that are mirrored in half of the cases, from 0.
        scales: Smallest and largest factor of the size, drawn evenly; numbers are interpolated
            linearly, labels taken from the nearest position. Empty for none.
    """

    crop: int = 0
    flips: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()

    @override
    def shapes(self, shapes: Shapes) -> Shapes:
        if self.scales:
            shapes = np.ceil(shapes * self.scales[1]).astype(np.int32)
        return np.minimum(shapes, self.crop).astype(np.int32) if self.crop else shapes

    @override
    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        inputs, labels = example.inputs, example.labels
        shape = labels.shape
        if self.scales:
            factor = generator.uniform(self.scales[0], self.scales[1])
            shape = tuple(max(int(size * factor), 1) for size in shape)
        begins = [self._begin(size, generator) for size in shape]
        ends = [min(b + (self.crop or s), s) for b, s in zip(begins, shape, strict=True)]
        inputs, labels = _piece(inputs, labels, shape, begins, ends)
        for axis in self.flips:
            if generator.random() < 0.5:
                inputs, labels = np.flip(inputs, axis), np.flip(labels, axis)
        return Example(np.ascontiguousarray(inputs), np.ascontiguousarray(labels))

    def _begin(self, size: int, generator: np.random.Generator) -> int:
        room = size - self.crop if self.crop else 0
        return int(generator.integers(room + 1)) if room > 0 else 0


def _piece(
    inputs: npt.NDArray[Any],
    labels: IntArray,
    shape: tuple[int, ...],
    begins: list[int],
    ends: list[int],
) -> tuple[npt.NDArray[Any], IntArray]:
    """Returns inputs and labels from begins to ends of the example resized to a shape."""
    region = tuple(slice(b, e) for b, e in zip(begins, ends, strict=True))
    if shape == labels.shape:
        return inputs[region], labels[region]
    mode = "linear" if len(shape) == 1 else "bilinear"
    wide = torch.from_numpy(np.ascontiguousarray(inputs)).movedim(-1, 0)[None]
    sized = F.interpolate(wide, shape, mode=mode, align_corners=False)[0].movedim(0, -1)
    nearest = [
        ((np.arange(b, e) + 0.5) * (old / new)).astype(np.int64)
        for b, e, old, new in zip(begins, ends, labels.shape, shape, strict=True)
    ]
    return sized.numpy()[region], labels[np.ix_(*nearest)]


class PieceStore(LabelledStore):
    """The same examples, each as often as pieces of a size fit into it.

    So that training on one random piece of an example at a time sees all positions alike often.

    Args:
        store: The examples.
        crop: Positions of a piece along each side.
        repeat: Times that many.
    """

    def __init__(self, store: LabelledStore, crop: int, repeat: int) -> None:
        super().__init__(store._inputs, store._labels, store.per_position)
        self._crop, self._repeat = crop, repeat
        counts = np.ones(len(store), dtype=np.int64)
        if crop:
            # Pieces that end at an edge are as many as those that begin there.
            counts = np.rint(store.shapes / crop).clip(min=1).prod(axis=1).astype(np.int64)
        self._sources = np.repeat(np.arange(len(store)), counts * repeat)

    @override
    def __len__(self) -> int:
        return len(self._sources)

    @property
    @override
    def fingerprint(self) -> str:
        text = f"{super().fingerprint} {self._crop} {self._repeat}"
        return blake2b(text.encode(), digest_size=8).hexdigest()

    @override
    def shapes_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        return super().shapes_at(self._sources[indices])

    @override
    def gather(self, indices: IntArray) -> list[Example]:
        return super().gather(self._sources[indices])
