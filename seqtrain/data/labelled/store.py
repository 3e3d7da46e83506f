"""Labelled examples by index: sequences of floats or symbols, or images, and their classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.data.labelled.values import ValueStore
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.errors import DataError

IntArray = npt.NDArray[np.int64]
IGNORED = -1
"""The class of what does not count: padding, and positions without a label."""


@dataclass(frozen=True)
class Example:
    """One example.

    Args:
        inputs: float32 [*positions, channels], or symbol ids, int64 [time].
        labels: Classes, int64: one, [], or one for each position, [*positions], -1 where none
            counts. Without labels, all -1.
    """

    inputs: npt.NDArray[Any]
    labels: IntArray


class LabelledStore:
    """Read-only examples by index.

    Args:
        inputs: Floats, or symbol ids.
        labels: Class + 1 of each example, or of each of its positions; 0 where none counts. None
            for examples to predict.
        per_position: There is a label for each position.
    """

    def __init__(
        self,
        inputs: ValueStore | SequenceStore,
        labels: SequenceStore | None,
        per_position: bool,
    ) -> None:
        if labels is not None and len(labels) != len(inputs):
            raise DataError(
                f"There are {len(inputs)} examples and labels of {len(labels)}. "
                "Run seqtrain-preprocess again."
            )
        self._inputs, self._labels = inputs, labels
        self.per_position = per_position

    def __len__(self) -> int:
        return len(self._inputs)

    @property
    def has_labels(self) -> bool:
        """False for examples to predict."""
        return self._labels is not None

    @property
    def is_tokens(self) -> bool:
        """Inputs are symbol ids."""
        return isinstance(self._inputs, SequenceStore)

    @property
    def rank(self) -> int:
        """Dimensions of positions: 1 for a sequence, 2 for an image."""
        return 1 if isinstance(self._inputs, SequenceStore) else self._inputs.meta.rank

    @property
    def num_channels(self) -> int:
        """Numbers at each position; 0 for symbols."""
        return 0 if isinstance(self._inputs, SequenceStore) else self._inputs.meta.num_channels

    @property
    def fingerprint(self) -> str:
        """Hash of the content."""
        labels = "" if self._labels is None else self._labels.fingerprint
        text = f"{self._inputs.fingerprint} {labels} {self.per_position}"
        return blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def shapes(self) -> npt.NDArray[np.int32]:
        """Positions of every example, [examples, rank]."""
        return self.shapes_at(np.arange(len(self)))

    def shapes_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        """Returns the positions of some examples, [indices, rank]."""
        if isinstance(self._inputs, SequenceStore):
            return self._inputs.lengths_at(indices).astype(np.int32)[:, None]
        return self._inputs.shapes_at(indices).astype(np.int32)

    def example(self, index: int) -> Example:
        """Returns one example."""
        return self.gather(np.array([index]))[0]

    def gather(self, indices: IntArray) -> list[Example]:
        """Returns some examples; the caller may change their arrays."""
        inputs = self._gather_inputs(indices)
        positions = [part.shape if self.is_tokens else part.shape[:-1] for part in inputs]
        shapes: Sequence[tuple[int, ...]] = (
            positions if self.per_position else [() for _ in positions]
        )
        labels: list[IntArray]
        if self._labels is None:
            labels = [np.full(shape, IGNORED, dtype=np.int64) for shape in shapes]
        else:
            flat = _split(self._labels, indices)
            labels = [part.reshape(s) - 1 for part, s in zip(flat, shapes, strict=True)]
        return [Example(part, label) for part, label in zip(inputs, labels, strict=True)]

    def _gather_inputs(self, indices: IntArray) -> Sequence[npt.NDArray[Any]]:
        if isinstance(self._inputs, SequenceStore):
            return _split(self._inputs, indices)
        return self._inputs.gather(indices)


def _split(store: SequenceStore, indices: IntArray) -> list[IntArray]:
    flat, lengths = store.gather(indices)
    return np.split(flat, np.cumsum(lengths)[:-1])
