"""What a store of id sequences is, and the checks that every one makes."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from seqtrain.data.bisection import last_not_above
from seqtrain.data.collate import ranges
from seqtrain.errors import DataError

IntArray = npt.NDArray[np.int64]
NUM_LENGTHS_AT_ONCE = 1 << 22


class SequenceStore(ABC):
    """Read-only sequences of ids by index. It is picklable: files are opened again."""

    vocab_size: int
    """Every id is below it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Ids of all sequences together."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the content."""

    @abstractmethod
    def lengths_at(self, indices: IntArray) -> IntArray:
        """Returns the lengths of some sequences, [indices]; the rest is not touched."""

    @abstractmethod
    def gather(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        """Returns some sequences, in the order of their indices.

        Returns:
            Their ids one after the other, [sum of lengths], and their lengths, [indices].

        Raises:
            DataError: The file is damaged there; the message names the entry.
        """

    @abstractmethod
    def count(self, token: int) -> int:
        """Returns how often an id occurs; reads everything."""

    def begins_at(self, indices: IntArray) -> IntArray:
        """Returns how many ids stand before some entries, all entries one after the other.

        The index behind the last entry is allowed. Here it costs a pass over all lengths; stores
        that know override it.
        """
        check_indices(indices, len(self) + 1, "the data")
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])[indices]

    def read(self, begins: IntArray, lengths: IntArray) -> IntArray:
        """Returns ranges of all ids one after the other, wherever entries begin.

        Here whole entries are read; stores that can read parts override it.

        Args:
            begins: First id of each range, as `begins_at` counts.
            lengths: Ids of each.

        Returns:
            The ids, [sum of lengths].
        """
        firsts, lasts = entries_at(self, begins), entries_at(self, begins + lengths - 1)
        counts = np.where(lengths > 0, lasts + 1 - firsts, 0)
        flat, sizes = self.gather(ranges(firsts, counts))
        # Where in `flat` the first entry of each range begins, then the range itself.
        heads = np.concatenate([[0], np.cumsum(sizes)])[np.cumsum(counts) - counts]
        skipped = begins - self.begins_at(firsts)
        return flat[ranges(heads + skipped, lengths)]

    def __getitem__(self, index: int) -> IntArray:
        return self.gather(np.array([index]))[0]

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Length of every sequence, [count]; computed anew at each read."""
        lengths = np.empty(len(self), dtype=np.int32)
        for begin in range(0, len(self), NUM_LENGTHS_AT_ONCE):
            end = min(begin + NUM_LENGTHS_AT_ONCE, len(self))
            lengths[begin:end] = self.lengths_at(np.arange(begin, end))
        return lengths


def entries_at(store: SequenceStore, places: IntArray) -> IntArray:
    """Returns which entry each id is of, ids counted over all entries.

    The place behind the last id is of the entry behind the last one.
    """
    low, high = np.zeros_like(places), np.full_like(places, len(store))
    return last_not_above(store.begins_at, places, low, high)


def check_indices(indices: IntArray, count: int, name: str) -> None:
    """Raises IndexError unless every index is that of an entry."""
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise IndexError(f"{name} holds entries 0 to {count - 1}.")


def check_extents(
    indices: IntArray, begins: IntArray, lengths: IntArray, total: int, name: str
) -> None:
    """Raises DataError unless every entry lies within the file.

    Args:
        indices: Which entries they are, for the message.
        begins: First token of each.
        lengths: Tokens of each.
        total: Tokens of the file.
        name: File that says where entries lie.
    """
    bad = (begins < 0) | (lengths < 0) | (begins + lengths > total)
    if bad.any():
        place = int(np.argmax(bad))
        raise DataError(
            f"{name}: entry {int(indices[place])} reaches from {begins[place]} to "
            f"{begins[place] + lengths[place]} of {total} tokens. The file is damaged: restore "
            "it, or prepare the data again."
        )


def check_ids(
    flat: IntArray, indices: IntArray, lengths: IntArray, vocab_size: int, name: str
) -> None:
    """Raises DataError unless every id is that of a symbol; the message names the entry."""
    if len(flat) == 0 or 0 <= int(flat.min()) <= int(flat.max()) < vocab_size:
        return
    place = int(np.argmax((flat < 0) | (flat >= vocab_size)))
    entry = int(indices[np.searchsorted(np.cumsum(lengths), place, side="right")])
    raise DataError(
        f"{name}: entry {entry} holds the id {flat[place]}, but there are {vocab_size} symbols. "
        "The file is damaged or belongs to another vocabulary: restore it, or prepare the data "
        "again."
    )
