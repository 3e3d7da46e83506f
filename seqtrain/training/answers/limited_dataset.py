"""A dataset whose batches say how long outputs may be, where other examples decide that."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.fairseq_batches import padded_source_lengths
from seqtrain.data.wrapped_dataset import WrappedDataset
from seqtrain.generation.base import LIMITING_LENGTHS, GenerationConfig

IntArray = npt.NDArray[np.int64]


class LimitedDataset(WrappedDataset):
    """Another dataset whose batches hold LIMITING_LENGTHS.

    Args:
        dataset: The examples.
        limits: The length of each, int64 [examples].
    """

    def __init__(self, dataset: Dataset, limits: IntArray) -> None:
        super().__init__(dataset)
        self._limits = limits

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        batch = self._dataset.batch(indices, epoch)
        limits = torch.from_numpy(self._limits[indices])
        return replace(batch, extras=batch.extras | {LIMITING_LENGTHS: limits})

    @override
    def empty_batch(self) -> Batch:
        return self._dataset.empty_batch()


def with_limits(dataset: Dataset, generation: GenerationConfig) -> Dataset:
    """Returns the dataset, with the limits of fairseq's batches if the options want them."""
    if not generation.fairseq_max_tokens:
        return dataset
    limits = padded_source_lengths(dataset.lengths, generation.fairseq_max_tokens)
    return LimitedDataset(dataset, limits)
