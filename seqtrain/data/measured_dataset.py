"""A dataset that says how much text its targets stand for."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset


class MeasuredDataset(Dataset):
    """Another dataset whose batches also hold constants, each a scalar in `extras`.

    Args:
        dataset: The examples.
        constants: Values by name, float64, such as the bytes of text that a target stands for on
            average over the whole dataset.
    """

    def __init__(self, dataset: Dataset, constants: dict[str, float]) -> None:
        self._dataset = dataset
        self._constants = constants

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self._dataset.lengths

    @override
    def lengths_at(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return self._dataset.lengths_at(indices)

    @override
    def in_epoch(self, epoch: int) -> Dataset:
        return MeasuredDataset(self._dataset.in_epoch(epoch), self._constants)

    @property
    @override
    def fingerprint(self) -> str:
        return self._dataset.fingerprint

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        return self._measured(self._dataset.batch(indices, epoch))

    @override
    def empty_batch(self) -> Batch:
        return self._measured(self._dataset.empty_batch())

    def __len__(self) -> int:
        return len(self._dataset)

    def _measured(self, batch: Batch) -> Batch:
        extras: dict[str, Tensor] = {
            name: torch.tensor(value, dtype=torch.float64)
            for name, value in self._constants.items()
        }
        return replace(batch, extras=batch.extras | extras)
