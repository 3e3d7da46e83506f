"""Where a stream of symbols is cut into blocks: at equal distances within a unit, or greedily."""

from abc import ABC, abstractmethod
from array import array

import numpy as np
from typing_extensions import override

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.bisection import AscendingNumbers
from seqtrain.data.collate import ranges
from seqtrain.data.token_stream import IntArray, TokenStream

SPAN = 1 << 24  # symbols whose cuts are computed together when all are counted
STRIDE = 64  # of so many cuts one is kept
NOWHERE = np.iinfo(np.int64).max


class Units:
    """Lines or documents: consecutive ranges that make up a stream.

    Args:
        stream: The symbols.
        starts: First entry of each unit, ascending from 0, and the number of entries at the end;
            None where each entry is one.
    """

    def __init__(self, stream: TokenStream, starts: ArrayFile | None = None) -> None:
        self._stream = stream
        self._starts = starts
        self._search = None if starts is None else AscendingNumbers(starts.at, len(starts))

    def at(self, places: IntArray) -> IntArray:
        """Returns the number of the unit that each place of the stream is in."""
        entries = self._stream.entries_at(places)
        return entries if self._search is None else self._search.last_not_above(entries)

    def begins(self, units: IntArray) -> IntArray:
        """Returns the place where each unit begins; of the one behind the last, the size."""
        return self._stream.begins(units if self._starts is None else self._starts.at(units))

    def bounds(self, begin: int, end: int) -> IntArray:
        """Returns where the units begin that places begin to end - 1 are in, and where they end."""
        first, last = self.at(np.array([begin, max(end - 1, begin)])).tolist()
        return self.begins(np.arange(first, last + 2, dtype=np.int64))


class Cutter(ABC):
    """A rule that cuts a stream into blocks; the first block begins at 0."""

    @abstractmethod
    def cuts(self, begin: int, end: int) -> IntArray:
        """Returns the cuts from begin, which is one, to end - 1, and the one after them.

        Behind the last block the size of the stream stands for a cut.
        """


class EqualCutter(Cutter):
    """Cuts each unit every `longest` symbols; the last block of a unit is the rest."""

    def __init__(self, units: Units, longest: int) -> None:
        self._units = units
        self._longest = longest

    @override
    def cuts(self, begin: int, end: int) -> IntArray:
        bounds = self._units.bounds(begin, end)
        unit_begins, unit_ends = np.maximum(bounds[:-1], begin), bounds[1:]
        counts = -(-(np.minimum(unit_ends, end) - unit_begins) // self._longest)
        cuts = np.repeat(unit_begins, counts) + ranges(0 * counts, counts) * self._longest
        # `end` need not be a cut: the last block may reach behind it.
        return np.append(cuts, min(cuts[-1] + self._longest, bounds[-1]))


class GreedyCutter(Cutter):
    """Cuts at the last end of a line that fits; a longer line is cut at `longest` symbols.

    Args:
        stream: The symbols; its entries are lines.
        longest: Most symbols in a block.
        documents: Units that no block crosses; None for none.
    """

    def __init__(self, stream: TokenStream, longest: int, documents: Units | None) -> None:
        self._size = stream.size
        self._lines = Units(stream)
        self._longest = longest
        self._documents = documents

    @override
    def cuts(self, begin: int, end: int) -> IntArray:
        behind = min(end + self._longest, self._size)
        bounds = self._lines.bounds(begin, behind)
        barriers = np.array([self._size])
        if self._documents is not None:
            barriers = self._documents.bounds(begin, behind)
        return _greedy(bounds, barriers, self._longest, (begin, end))


def _greedy(bounds: IntArray, barriers: IntArray, longest: int, span: tuple[int, int]) -> IntArray:
    """Follows the blocks one after the other; the loop is over blocks, not over lines."""
    place, end = span
    reach = np.minimum(bounds + longest, _next(barriers, bounds))
    following = (np.searchsorted(bounds, reach, side="right") - 1).data
    line_begins = bounds.data
    line = int(np.searchsorted(bounds, place, side="right")) - 1
    cuts = array("q", [place])
    while place < end:
        if line_begins[line] == place and line_begins[following[line]] > place:
            line = following[line]
            place = line_begins[line]
        else:  # the line that the block begins in does not fit
            limit = min(place + longest, int(_next(barriers, np.array([place]))[0]))
            line = int(np.searchsorted(bounds, limit, side="right")) - 1
            place = line_begins[line] if line_begins[line] > place else limit
        cuts.append(place)
    return np.array(cuts, dtype=np.int64)


def _next(barriers: IntArray, places: IntArray) -> IntArray:
    """Returns the first barrier behind each place."""
    return np.append(barriers, NOWHERE)[np.searchsorted(barriers, places, side="right")]


class CutIndex:
    """The cuts of a stream by number; of each 64 one is kept, the others are computed anew.

    Args:
        cutter: The rule.
        size: Symbols of the stream.
    """

    def __init__(self, cutter: Cutter, size: int) -> None:
        self._cutter = cutter
        self._count = 0
        kept, place = [], 0
        while place < size:
            cuts = cutter.cuts(place, min(place + SPAN, size))
            # A copy: a view would keep all cuts in memory.
            kept.append(cuts[:-1][-self._count % STRIDE :: STRIDE].copy())
            self._count += len(cuts) - 1
            place = int(cuts[-1])
        self._kept = np.concatenate([*kept, np.array([size], dtype=np.int64)])

    def __len__(self) -> int:
        return self._count

    def blocks(self, indices: IntArray) -> tuple[IntArray, IntArray]:
        """Returns the begin and the end of the blocks with these numbers."""
        begins, ends = np.empty_like(indices), np.empty_like(indices)
        groups, owners = np.unique(indices // STRIDE, return_inverse=True)
        # Groups that follow one another are computed together.
        run_of = np.cumsum(np.diff(groups, prepend=groups[:1]) != 1) if len(groups) else groups
        for run in np.unique(run_of).tolist():
            own = groups[run_of == run]
            first, last = int(own[0]), int(own[-1])
            cuts = self._cutter.cuts(int(self._kept[first]), int(self._kept[last + 1]))
            places = np.flatnonzero(run_of[owners] == run)
            local = indices[places] - first * STRIDE
            begins[places], ends[places] = cuts[local], cuts[local + 1]
        return begins, ends
