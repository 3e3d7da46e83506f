"""Which batches an epoch has, window by window, and what that leaves out or pads."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqtrain.data.batching import (
    CUT,
    DatasetConfig,
    Filtered,
    IntArray,
    padding_share,
    plan_window,
    shorten_lengths,
    usable,
)
from seqtrain.data.dataset import Dataset
from seqtrain.data.permutation import permutation_slice
from seqtrain.data.window_order import window_order


@dataclass(frozen=True)
class BatchingSummary:
    """What batching makes of the examples; of the first window where there are several.

    Args:
        num_examples: Examples of the dataset.
        num_counted: Examples that the figures below are about.
        num_used: Examples in batches.
        num_batches: Batches over all ranks.
        padding: Share of positions that is padding, 0 to 1.
        filtered: Examples left out or cut, by reason.
    """

    num_examples: int
    num_counted: int
    num_used: int
    num_batches: int
    padding: float
    filtered: tuple[Filtered, ...]

    def lines(self) -> list[str]:
        """Returns the summary for people."""
        scope = ""
        if self.num_counted < self.num_examples:
            scope = f" (counted in the first window of {self.num_counted})"
        text = [
            f"{self.num_used} of {self.num_counted} examples in {self.num_batches} batches, "
            f"{100.0 * self.padding:.1f}% padding{scope}"
        ]
        for entry in self.filtered:
            ids = ", ".join(str(index) for index in entry.first_ids)
            more = ", ..." if entry.count > len(entry.first_ids) else ""
            article = "an" if entry.reason.startswith("e") else "a"
            text.append(f"{entry.action}: {entry.count} with {article} {entry.reason}: {ids}{more}")
        if 2 * self.num_used < self.num_counted:
            text.append("note: more than half of the examples are left out; raise the limits")
        return text


class EpochPlan:
    """The batches of each window of each epoch: a function of (seed, epoch) and the lengths.

    Time and memory of a window do not depend on the size of the dataset. In training a window is
    made of blocks of neighbouring examples, drawn from the whole dataset (or from the shards that
    are open together), so that it reads few pages of the files; its examples are then shuffled
    one by one. A dataset of one window is shuffled as a whole.

    Args:
        dataset: The examples.
        config: The budget and the limits.
        seed: What the order is drawn from.
        shuffle: True for training: examples in random order, batches too (after the epochs of
            the curriculum), long ones left out.
            False for evaluation: every example once, shortest first within its window.
    """

    def __init__(self, dataset: Dataset, config: DatasetConfig, seed: int, shuffle: bool) -> None:
        self._dataset = dataset
        self._config = config
        self._seed = seed
        self._shuffle = shuffle
        self._num_examples = len(dataset)
        self._order = window_order(dataset, config.window_size, seed, shuffle)
        self._cached: tuple[tuple[int, int], list[IntArray]] | None = None

    @property
    def num_windows(self) -> int:
        """Windows of each epoch."""
        return self._order.num_windows

    def num_examples_in(self, epoch: int, index: int) -> int:
        """Returns the number of examples of a window, long ones included."""
        return len(self._order.examples(epoch, index))

    def window(self, epoch: int, index: int) -> list[IntArray]:
        """Returns the example indices of each batch of a window, in the order of training."""
        if self._cached is None or self._cached[0] != (epoch, index):
            self._cached = ((epoch, index), self._plan(epoch, index))
        return self._cached[1]

    def summary(self, epoch: int = 1) -> BatchingSummary:
        """Returns what batching makes of the examples in the first window of an epoch."""
        order, _, filtered = self._examples(epoch, 0)
        batches = self.window(epoch, 0) if self.num_windows else []
        rows = np.array([len(batch) for batch in batches], dtype=np.int64)
        share = 0.0
        if len(batches):
            lengths = self._dataset.in_epoch(epoch).lengths_at(np.concatenate(batches))
            if self._shuffle and self._config.long_examples == CUT:
                lengths = shorten_lengths(lengths, self._config)
            share = padding_share(lengths, rows)
        return BatchingSummary(
            num_examples=self._num_examples,
            num_counted=self.num_examples_in(epoch, 0) if self.num_windows else 0,
            num_used=len(order),
            num_batches=len(batches),
            padding=share,
            filtered=tuple(filtered),
        )

    def _plan(self, epoch: int, index: int) -> list[IntArray]:
        order, lengths, _ = self._examples(epoch, index)
        batches = plan_window(lengths, order, self._config)
        if not self._shuffle or epoch <= self._config.curriculum_epochs:
            return batches
        key = (self._seed, "batches", epoch, index)
        shuffled = permutation_slice(len(batches), 0, len(batches), *key)
        return [batches[place] for place in shuffled]

    def _examples(
        self, epoch: int, index: int
    ) -> tuple[IntArray, npt.NDArray[np.int32], list[Filtered]]:
        """Returns the used examples of a window, their lengths, and what is left out or cut."""
        order = self._order.examples(epoch, index)
        dataset = self._dataset.in_epoch(epoch)
        if not self._shuffle:
            return order, dataset.lengths_at(order), []
        # Lengths are read in the order of the file, whose pages are then read once each.
        by_place = np.sort(order)
        shuffled = permutation_slice(len(order), 0, len(order), self._seed, "window", epoch, index)
        order = by_place[shuffled]
        lengths = dataset.lengths_at(by_place)[shuffled]
        used, filtered = usable(lengths, order, self._config)
        if self._config.long_examples == CUT:
            lengths = shorten_lengths(lengths, self._config)
        return order[used], lengths[used], filtered
