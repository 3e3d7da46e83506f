"""Several datasets, one after the other, as one."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.joined_batch import IntArray, batch_of_parts
from seqtrain.errors import DataError


class JoinedDataset(Dataset):
    """The examples of the first dataset, then the second's.

    The datasets give batches with the same inputs. Where they are made of stores, joining the
    stores (see JoinedStore) is faster.

    Args:
        datasets: At least one.

    Raises:
        DataError: There is none.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        if not datasets:
            raise DataError("No dataset is given to be joined. Name at least one.")
        self.datasets = list(datasets)
        self._begins = np.cumsum([0, *map(len, datasets)], dtype=np.int64)

    @override
    def __len__(self) -> int:
        return int(self._begins[-1])

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        none = np.zeros(0, dtype=np.int64)
        owners = np.searchsorted(self._begins, indices, side="right") - 1
        lengths = np.empty((len(indices), self.datasets[0].lengths_at(none).shape[1]), np.int32)
        for number in np.unique(owners).tolist():
            own = owners == number
            local = indices[own] - self._begins[number]
            lengths[own] = self.datasets[number].lengths_at(local)
        return lengths

    @override
    def in_epoch(self, epoch: int) -> Dataset:
        return JoinedDataset([dataset.in_epoch(epoch) for dataset in self.datasets])

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        return JoinedDataset([dataset.shortened(longest) for dataset in self.datasets])

    @property
    @override
    def fingerprint(self) -> str:
        parts = [dataset.fingerprint for dataset in self.datasets]
        return blake2b(" ".join(parts).encode(), digest_size=8).hexdigest()

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        return batch_of_parts(
            indices, self._begins, lambda number, local: self.datasets[number].batch(local, epoch)
        )

    @override
    def empty_batch(self) -> Batch:
        return self.datasets[0].empty_batch()
