"""A corpus in many parts of which only a few are open at once."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.joined_batch import IntArray, batch_of_parts
from seqtrain.errors import ConfigError, DataError


class OpenShards:
    """Shards by number; those that were not used for longest are closed.

    Args:
        sizes: Examples of each shard.
        open_shard: Opens the shard of a number; picklable.
        max_open: Most shards that are open at once in this process.
    """

    def __init__(
        self, sizes: Sequence[int], open_shard: Callable[[int], Dataset], max_open: int
    ) -> None:
        self.max_open = max_open
        self._sizes = list(sizes)
        self._open_shard = open_shard
        self._open: OrderedDict[int, Dataset] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, number: int) -> Dataset:
        """Returns a shard, which is opened if it is not open.

        Raises:
            DataError: It cannot be opened or has not the size that is expected.
        """
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        while len(self._open) >= self.max_open:
            self._open.popitem(last=False)
        shard = self._open_shard(number)
        if len(shard) != self._sizes[number]:
            raise DataError(
                f"Shard {number} holds {len(shard)} examples, not {self._sizes[number]}. "
                "List the shards again."
            )
        self._open[number] = shard
        return shard

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


class ShardedDataset(Dataset):
    """The examples of many shards; a shard is opened when it is needed.

    Training takes the shards in random order, half of `max_open` at a time, and mixes the examples
    of these (see ShardOrder). As with any dataset the order is a function of (seed, epoch), and a
    run goes on anywhere.

    Args:
        shard_sizes: Examples of each shard.
        fingerprints: Of the content of each shard.
        open_shard: Opens the shard of a number; picklable.
        max_open: Most shards that are open at once in each process.

    Raises:
        ConfigError: No shard may be open.
        DataError: There is no shard, or there are not as many fingerprints as sizes.
    """

    def __init__(
        self,
        shard_sizes: Sequence[int],
        fingerprints: Sequence[str],
        open_shard: Callable[[int], Dataset],
        max_open: int = 8,
    ) -> None:
        if max_open < 1:
            raise ConfigError(f"At least one shard must be open at once, got max_open={max_open}.")
        if not shard_sizes or len(shard_sizes) != len(fingerprints):
            raise DataError(
                f"There are {len(shard_sizes)} sizes and {len(fingerprints)} fingerprints of "
                "shards: give both for each of one shard or more."
            )
        self.open_shards = OpenShards(shard_sizes, open_shard, max_open)
        """The shards of this dataset and of all its views."""
        self._sizes = list(shard_sizes)
        self._fingerprints = list(fingerprints)
        self._begins = np.cumsum([0, *shard_sizes], dtype=np.int64)
        self._epoch: int | None = None
        self._longest: tuple[int, ...] | None = None

    @override
    def __len__(self) -> int:
        return int(self._begins[-1])

    @property
    @override
    def shard_sizes(self) -> list[int] | None:
        return self._sizes

    @property
    @override
    def shards_at_once(self) -> int:
        # A window is planned while batches of the one before it are still read.
        return max(1, self.open_shards.max_open // 2)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        owners = np.searchsorted(self._begins, indices, side="right") - 1
        numbers = np.unique(owners).tolist()
        if not numbers:
            return self._shard(0).lengths_at(indices)
        parts = []
        for number in numbers:
            local = indices[owners == number] - self._begins[number]
            parts.append(self._shard(number).lengths_at(local))
        # The parts stand one shard after the other.
        lengths = np.empty((len(indices), parts[0].shape[1]), dtype=np.int32)
        lengths[np.argsort(owners, kind="stable")] = np.concatenate(parts)
        return lengths

    @override
    def in_epoch(self, epoch: int) -> Dataset:
        view = copy(self)
        view._epoch = epoch
        return view

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        self._shard(0).shortened(longest)  # says now whether it is possible
        view = copy(self)
        view._longest = tuple(longest)
        return view

    @property
    @override
    def fingerprint(self) -> str:
        parts = (self._fingerprints, self._sizes)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        return batch_of_parts(
            indices, self._begins, lambda number, local: self._shard(number).batch(local, epoch)
        )

    @override
    def empty_batch(self) -> Batch:
        return self._shard(0).empty_batch()

    def _shard(self, number: int) -> Dataset:
        shard = self.open_shards.get(number)
        if self._epoch is not None:
            shard = shard.in_epoch(self._epoch)
        return shard if self._longest is None else shard.shortened(self._longest)
