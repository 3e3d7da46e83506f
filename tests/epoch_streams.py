"""Micro-batches of several ranks in the order of their stream, with stops in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from seqtrain.batch import Batch
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.epoch_iterator import EpochIterator


@dataclass(frozen=True)
class Stage:
    """A part of a run between two stops.

    Args:
        world_size: Ranks.
        update_freq: Micro-batches of a rank in an update.
        updates: Updates until the stop.
        num_workers: Processes that load.
    """

    world_size: int = 1
    update_freq: int = 1
    updates: int = 10**9
    num_workers: int = 0


@dataclass(frozen=True)
class Seen:
    """A micro-batch that was given."""

    epoch: int
    ids: list[int]
    tensors: dict[str, Any]

    @classmethod
    def of(cls, epoch: int, batch: Batch) -> "Seen":
        tensors = {**batch.inputs, **batch.extras, "targets": batch.targets}
        return cls(epoch, batch.ids.tolist(), {k: v.tolist() for k, v in tensors.items()})


def stream(
    make: Callable[[], Dataset], config: DatasetConfig, stages: Sequence[Stage], epochs: int = 2
) -> list[Seen]:
    """Runs stage after stage, each with a new dataset and iterators, for some epochs at most."""
    seen: list[Seen] = []
    state: dict[str, Any] | None = None
    for stage in stages:
        config = replace(config, num_workers=stage.num_workers)
        dataset = make()
        ranks = [
            EpochIterator(dataset, config, 7, rank, stage.world_size)
            for rank in range(stage.world_size)
        ]
        for rank in ranks:
            if state is not None:
                rank.load_state_dict(state)
        left = stage.updates
        while left > 0 and ranks[0].epoch <= epochs:
            updates = zip(*(rank.groups(stage.update_freq) for rank in ranks), strict=True)
            for groups in islice(updates, left):
                left -= 1
                batches = [batch for group in groups for batch in group.batches]
                epoch = ranks[0].epoch
                seen += [Seen.of(epoch, batch) for batch in batches if batch.num_examples]
                for rank, group in zip(ranks, groups, strict=True):
                    rank.advance(group)
        state = ranks[0].state_dict()
    return seen
