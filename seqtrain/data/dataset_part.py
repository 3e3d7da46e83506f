"""Some examples of a dataset, known by numbers of the caller's."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.errors import DataError

IntArray = npt.NDArray[np.int64]


class DatasetPart(Dataset):
    """The examples at some indices. The ids of batches are numbers that the caller gives.

    Args:
        dataset: What is taken from.
        indices: Which examples, in the order that they have here.
        numbers: Ids of the same; the indices if None.
    """

    def __init__(
        self, dataset: Dataset, indices: Sequence[int], numbers: Sequence[int] | None = None
    ) -> None:
        if numbers is not None and len(numbers) != len(indices):
            raise DataError(f"There are {len(numbers)} numbers for {len(indices)} examples.")
        self._dataset = dataset
        self._indices = np.array(indices, dtype=np.int64)
        self._numbers = self._indices if numbers is None else np.array(numbers, dtype=np.int64)

    @override
    def __len__(self) -> int:
        return len(self._indices)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self._dataset.lengths_at(self._indices)

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        return self._dataset.lengths_at(self._indices[indices])

    @override
    def in_epoch(self, epoch: int) -> Dataset:
        return DatasetPart(self._dataset.in_epoch(epoch), *self._places())

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        return DatasetPart(self._dataset.shortened(longest), *self._places())

    @property
    @override
    def fingerprint(self) -> str:
        digest = blake2b(self._dataset.fingerprint.encode(), digest_size=8)
        digest.update(self._indices.tobytes())
        digest.update(self._numbers.tobytes())
        return digest.hexdigest()

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        batch = self._dataset.batch(self._indices[indices], epoch)
        return replace(batch, ids=torch.from_numpy(self._numbers[indices]))

    @override
    def empty_batch(self) -> Batch:
        return self._dataset.empty_batch()

    def _places(self) -> tuple[list[int], list[int]]:
        return self._indices.tolist(), self._numbers.tolist()
