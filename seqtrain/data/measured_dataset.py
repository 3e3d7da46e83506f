"""A dataset that says how much text its targets stand for."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.wrapped_dataset import WrappedDataset


class MeasuredDataset(WrappedDataset):
    """Another dataset whose batches also hold constants, each a scalar in `extras`.

    Args:
        dataset: The examples.
        constants: Values by name, float64, such as the bytes of text that a target stands for on
            average over the whole dataset.
    """

    def __init__(self, dataset: Dataset, constants: dict[str, float]) -> None:
        super().__init__(dataset)
        self._constants = constants

    @override
    def in_epoch(self, epoch: int) -> Dataset:
        return MeasuredDataset(self._dataset.in_epoch(epoch), self._constants)

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        return self._measured(self._dataset.batch(indices, epoch))

    @override
    def empty_batch(self) -> Batch:
        return self._measured(self._dataset.empty_batch())

    def _measured(self, batch: Batch) -> Batch:
        extras: dict[str, Tensor] = {
            name: torch.tensor(value, dtype=torch.float64)
            for name, value in self._constants.items()
        }
        return replace(batch, extras=batch.extras | extras)
