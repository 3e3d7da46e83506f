"""Examples with demands on their outputs: how they begin, and phrases that they must contain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.vocabulary import PADDING
from seqtrain.data.wrapped_dataset import WrappedDataset

FORCED_PREFIXES = "forced_prefixes"
"""In a batch's extras: what outputs begin with, int64 [batch, time], padding behind."""
PHRASES = "phrases"
"""In a batch's extras: what outputs contain, int64 [batch, phrases, time], padding behind."""


@dataclass(frozen=True)
class Demand:
    """What one output must be like, as symbol ids without eos."""

    prefix: Sequence[int] = ()
    """Its beginning."""
    phrases: Sequence[Sequence[int]] = ()
    """Sequences that it contains."""


class DemandingDataset(WrappedDataset):
    """Another dataset whose batches also hold what is demanded of their outputs.

    Args:
        dataset: The examples.
        demands: One for each example.
    """

    def __init__(self, dataset: Dataset, demands: Sequence[Demand]) -> None:
        if len(demands) != len(dataset):
            raise ValueError(f"There are {len(demands)} demands for {len(dataset)} examples.")
        super().__init__(dataset)
        self._demands = demands

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        return DemandingDataset(self._dataset.shortened(longest), self._demands)

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        batch = self._dataset.batch(indices, epoch)
        return self._with_demands(batch, [self._demands[index] for index in indices])

    @override
    def empty_batch(self) -> Batch:
        return self._with_demands(self._dataset.empty_batch(), [Demand()])

    def _with_demands(self, batch: Batch, demands: Sequence[Demand]) -> Batch:
        extras: dict[str, Tensor] = {}
        if any(demand.prefix for demand in self._demands):
            extras[FORCED_PREFIXES] = _padded([demand.prefix for demand in demands])
        if any(demand.phrases for demand in self._demands):
            most = max(len(demand.phrases) for demand in demands)
            flat = [
                phrase
                for demand in demands
                for phrase in [*demand.phrases, *[()] * (most - len(demand.phrases))]
            ]
            rows = _padded(flat)
            extras[PHRASES] = rows.view(len(demands), most, rows.size(1))
        return replace(batch, extras=batch.extras | extras)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Returns rows of any lengths as int64 [rows, longest]."""
    longest = max(map(len, rows), default=0)
    padded = torch.full((len(rows), longest), PADDING)
    for row, symbols in enumerate(rows):
        padded[row, : len(symbols)] = torch.tensor(list(symbols), dtype=torch.int64)
    return padded
