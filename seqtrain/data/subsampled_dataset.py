"""A part of a dataset, drawn at random."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.mixed_dataset import MixedDataset
from seqtrain.data.permutation import permute
from seqtrain.errors import ConfigError

IntArray = npt.NDArray[np.int64]


class SubsampledDataset(Dataset):
    """So many examples of a dataset, the same ones in every epoch.

    A larger sample of the same seed holds the smaller one.

    Args:
        dataset: What is drawn from.
        count: Examples, at most as many as there are.
        seed: Which ones.
    """

    def __init__(self, dataset: Dataset, count: int, seed: int) -> None:
        if not 0 <= count <= len(dataset):
            raise ConfigError(f"A sample of {count} of {len(dataset)} examples is not possible.")
        self._dataset = dataset
        self._count = count
        self._seed = seed

    @override
    def __len__(self) -> int:
        return self._count

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        return self._dataset.lengths_at(self.examples(indices))

    @override
    def in_epoch(self, epoch: int) -> Dataset:
        return SubsampledDataset(self._dataset.in_epoch(epoch), self._count, self._seed)

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        return SubsampledDataset(self._dataset.shortened(longest), self._count, self._seed)

    @property
    @override
    def fingerprint(self) -> str:
        parts = (self._dataset.fingerprint, self._count, self._seed)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        """Returns a batch whose ids are the examples' indices in the whole dataset."""
        return self._dataset.batch(self.examples(indices), epoch)

    @override
    def empty_batch(self) -> Batch:
        return self._dataset.empty_batch()

    def examples(self, indices: IntArray) -> IntArray:
        """Returns which examples of the whole dataset stand at these indices."""
        return permute(len(self._dataset), indices, self._seed, "sample")


def subsample(
    dataset: Dataset, seed: int, count: int = 0, fraction: float = 0.0, per_epoch: bool = False
) -> Dataset:
    """Returns a random part of a dataset.

    Args:
        dataset: What is drawn from.
        seed: What the choice is drawn from.
        count: Examples to take; 0 to take a fraction.
        fraction: Share of the examples, above 0 to 1.
        per_epoch: Take others in each epoch, all of them before one again.

    Raises:
        ConfigError: Not exactly one of count and fraction is given, or it is not possible.
    """
    if (count == 0) == (fraction == 0.0):
        raise ConfigError(
            f"A sample needs a count or a fraction, got count={count} and fraction={fraction}."
        )
    if not 0.0 <= fraction <= 1.0:
        raise ConfigError(f"The fraction of a sample must be from 0 to 1, got {fraction}.")
    wanted = count or max(round(fraction * len(dataset)), min(len(dataset), 1))
    fixed = SubsampledDataset(dataset, wanted, seed)
    return MixedDataset(dataset, [len(dataset)], [wanted], seed) if per_epoch else fixed
