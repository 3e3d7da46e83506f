"""Which examples each window of an epoch is made of."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.data.collate import ranges
from seqtrain.data.dataset import Dataset
from seqtrain.data.permutation import permutation_slice

IntArray = npt.NDArray[np.int64]
MOST_IN_BLOCK = 512
LEAST_BLOCKS = 16  # in a window


class WindowOrder(ABC):
    """Divides the examples of an epoch among windows, in blocks of neighbours.

    Every example is in one window of each epoch. Time and memory of a window do not depend on the
    number of examples.
    """

    num_windows: int
    """Windows of each epoch."""

    @abstractmethod
    def examples(self, epoch: int, index: int) -> IntArray:
        """Returns the examples of a window, block by block."""


def window_order(dataset: Dataset, window_size: int, seed: int, shuffle: bool) -> WindowOrder:
    """Returns the order that suits a dataset.

    Args:
        dataset: The examples.
        window_size: Most examples of a window, where a block is not larger.
        seed: What the order is drawn from.
        shuffle: Draw the blocks of a window from all over the data; otherwise they ascend.
    """
    sizes = dataset.shard_sizes
    if sizes is None:
        return BlockOrder(len(dataset), window_size, seed, shuffle)
    return ShardOrder(sizes, dataset.shards_at_once, window_size, seed, shuffle)


class BlockOrder(WindowOrder):
    """Windows of blocks from the whole dataset, all of which is at hand."""

    def __init__(self, num_examples: int, window_size: int, seed: int, shuffle: bool) -> None:
        self._num_examples = num_examples
        self._seed = seed
        self._shuffle = shuffle
        self._block = _block_size(window_size)
        self._num_blocks = -(-num_examples // self._block)
        self._blocks_in_window = window_size // self._block
        if num_examples <= window_size:
            self._blocks_in_window = max(self._num_blocks, 1)
        self.num_windows = -(-self._num_blocks // self._blocks_in_window)

    @override
    def examples(self, epoch: int, index: int) -> IntArray:
        first = index * self._blocks_in_window
        last = min(first + self._blocks_in_window, self._num_blocks)
        blocks = np.arange(first, last, dtype=np.int64)
        if self._shuffle and self.num_windows > 1:
            blocks = permutation_slice(self._num_blocks, first, last, self._seed, "blocks", epoch)
        within = np.arange(self._block, dtype=np.int64)
        order = (blocks[:, None] * self._block + within).reshape(-1)
        return order[order < self._num_examples]


class ShardOrder(WindowOrder):
    """Windows of blocks from a few shards at a time.

    The shards of an epoch stand in random order and are taken in groups; each group is divided
    into windows, all groups into as many.

    Args:
        shard_sizes: Examples of each shard.
        at_once: Shards of a group.
        window_size: Most examples of a window.
        seed: What the order is drawn from.
        shuffle: False for shards and blocks in ascending order.
    """

    def __init__(
        self, shard_sizes: Sequence[int], at_once: int, window_size: int, seed: int, shuffle: bool
    ) -> None:
        sizes = np.array(shard_sizes, dtype=np.int64)
        self._sizes = sizes
        self._begins = np.cumsum(sizes) - sizes
        self._used = np.flatnonzero(sizes)
        self._at_once = at_once
        self._seed = seed
        self._shuffle = shuffle
        self._block = _block_size(window_size)
        self._blocks = -(-sizes // self._block)
        largest = int(np.sort(self._blocks)[::-1][:at_once].sum())
        self._windows_in_group = -(-largest // (window_size // self._block))
        self.num_windows = -(-len(self._used) // at_once) * self._windows_in_group

    @override
    def examples(self, epoch: int, index: int) -> IntArray:
        group, part = divmod(index, self._windows_in_group)
        shards = self._shards(epoch, group)
        counts = self._blocks[shards]
        total = int(counts.sum())
        first, last = (-(-total * at // self._windows_in_group) for at in (part, part + 1))
        places = np.arange(first, last, dtype=np.int64)
        if self._shuffle and self._windows_in_group > 1:
            key = (self._seed, "shard blocks", epoch, group)
            places = permutation_slice(total, first, last, *key)
        owners = np.searchsorted(np.cumsum(counts), places, side="right")
        within = (places - (np.cumsum(counts) - counts)[owners]) * self._block
        lengths = np.minimum(self._block, self._sizes[shards][owners] - within)
        return ranges(self._begins[shards][owners] + within, lengths)

    def _shards(self, epoch: int, group: int) -> IntArray:
        """Returns the shards of a group."""
        first, last = group * self._at_once, min((group + 1) * self._at_once, len(self._used))
        if not self._shuffle:
            return self._used[first:last]
        order = permutation_slice(len(self._used), first, last, self._seed, "shards", epoch)
        return self._used[order]


def _block_size(window_size: int) -> int:
    return max(1, min(MOST_IN_BLOCK, window_size // LEAST_BLOCKS))
