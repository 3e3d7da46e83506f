"""A dataset around another one: the same examples, with more in their batches."""

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.data.dataset import Dataset


class WrappedDataset(Dataset):
    """Base of datasets that add something to the batches of another; these say how.

    Args:
        dataset: The examples.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self._dataset.lengths

    @override
    def lengths_at(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return self._dataset.lengths_at(indices)

    @property
    @override
    def fingerprint(self) -> str:
        return self._dataset.fingerprint

    @override
    def __len__(self) -> int:
        return len(self._dataset)
