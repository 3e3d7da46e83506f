"""The entries of a store as one stream of symbols, of which ranges are read."""

import numpy as np
import numpy.typing as npt

from seqtrain.data.bisection import AscendingNumbers
from seqtrain.data.collate import ranges
from seqtrain.data.sequence_store import SequenceStore

IntArray = npt.NDArray[np.int64]


class TokenStream:
    """Entry, separator, entry, separator, ...: places count symbols from the beginning.

    Memory does not depend on the size of the store.

    Args:
        store: The entries, without separators.
        separator: Id after each entry; None for none.
    """

    def __init__(self, store: SequenceStore, separator: int | None) -> None:
        self.store = store
        self.separator = separator
        self._per_entry = int(separator is not None)
        self._search = AscendingNumbers(self.begins, len(store))

    @property
    def num_entries(self) -> int:
        """Entries of the store."""
        return len(self.store)

    @property
    def size(self) -> int:
        """Symbols, separators counted."""
        return self.store.num_tokens + self._per_entry * len(self.store)

    def begins(self, entries: IntArray) -> IntArray:
        """Returns the place where each entry begins; of the entry behind the last one, the size."""
        return self.store.begins_at(entries) + self._per_entry * entries

    def entries_at(self, places: IntArray) -> IntArray:
        """Returns which entry each place is in; its separator is in it. The size is in none.

        Returns:
            The last entry that does not begin behind the place, [places]; the number of entries
            for places behind the stream.
        """
        found = self._search.last_not_above(places)
        return np.where(places >= self.size, self.num_entries, found)

    def read(self, begins: IntArray, lengths: IntArray) -> IntArray:
        """Returns the symbols of some ranges, one range after the other, [sum of lengths]."""
        if self.separator is None:
            return self.store.read(begins, lengths)
        first, last = self.entries_at(begins), self.entries_at(begins + lengths)
        # Before a place in entry n stand n separators.
        tokens = self.store.read(begins - first, lengths - (last - first))
        flat = np.full(int(lengths.sum()), self.separator, dtype=np.int64)
        flat[~self._is_separator(begins, lengths, first, last)] = tokens
        return flat

    def _is_separator(
        self, begins: IntArray, lengths: IntArray, first: IntArray, last: IntArray
    ) -> npt.NDArray[np.bool_]:
        """Says which symbols of some ranges are separators; the ranges lie in entries as given."""
        counts = last - first
        ends = self.begins(ranges(first, counts) + 1) - 1
        moved = np.cumsum(lengths) - lengths - begins
        found = np.zeros(int(lengths.sum()), dtype=np.bool_)
        found[ends + np.repeat(moved, counts)] = True
        return found
