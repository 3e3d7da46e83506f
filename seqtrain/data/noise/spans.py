"""Spans at random places of sequences, for many sequences at once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqtrain.data.collate import ranges
from seqtrain.data.keyed_random import ExampleRandom, rank_within

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """Spans of several sequences, in order; two of one sequence do not touch.

    Args:
        rows: Which sequence each is in, ascending, [spans].
        begins: Its first place, [spans].
        lengths: Its places, 0 for the gap before `begins`, [spans].
    """

    rows: IntArray
    begins: IntArray
    lengths: IntArray


def place_spans(
    random: ExampleRandom, room: IntArray, counts: IntArray, lengths: IntArray
) -> Spans:
    """Puts spans of given lengths at random places; every arrangement is equally likely.

    Args:
        random: Of the sequences.
        room: Places of each sequence, [batch].
        counts: Spans of each, [batch]: at most one more than there are places outside of them.
        lengths: Their lengths, those of one sequence after another's, [sum of counts].
    """
    rows = np.repeat(np.arange(len(room)), counts)
    covered = np.bincount(rows, weights=lengths, minlength=len(room)).astype(np.int64)
    # A span may stand before each place outside of spans, or behind the last one.
    num_slots = room - covered + 1
    slot_rows = np.repeat(np.arange(len(room)), num_slots)
    ranks = rank_within(slot_rows, random.uniform("slots", num_slots))
    chosen = ranks < counts[slot_rows]
    slots = ranges(0 * num_slots, num_slots)[chosen]
    return Spans(rows, slots + _sum_before(lengths, counts), lengths)


def limit_spans(
    lengths: IntArray, drawn: IntArray, budget: IntArray, room: IntArray
) -> tuple[IntArray, IntArray]:
    """Keeps as many of the drawn spans as a number of places allows; the last one is cut.

    Args:
        lengths: Drawn lengths, those of one sequence after another's.
        drawn: How many were drawn for each sequence, [batch].
        budget: Most places in spans, of each, [batch].
        room: Places of each, [batch].

    Returns:
        The number of spans of each sequence, [batch], and the lengths.
    """
    rows = np.repeat(np.arange(len(drawn)), drawn)
    before = _sum_before(lengths, drawn)
    most = np.minimum(budget, room - budget + 1)
    kept = (before < budget[rows]) & (ranges(0 * drawn, drawn) < most[rows])
    cut = np.minimum(lengths, budget[rows] - before)[kept]
    return np.bincount(rows[kept], minlength=len(drawn)), cut


def split_evenly(random: ExampleRandom, totals: IntArray, counts: IntArray) -> IntArray:
    """Returns random positive lengths that add up to a total; every way is equally likely.

    Args:
        random: Of the sequences.
        totals: What the lengths of each add up to, [batch].
        counts: How many there are of each, 0 to its total, [batch]; 0 only for a total of 0.

    Returns:
        [sum of counts].
    """
    num_gaps = np.maximum(totals - 1, 0)
    rows = np.repeat(np.arange(len(totals)), num_gaps)
    is_cut = rank_within(rows, random.uniform("parts", num_gaps)) < (counts - 1)[rows]
    # Within each total, a part begins at the first place and behind each cut.
    begins = np.zeros(int(totals.sum()), dtype=np.bool_)
    first = np.cumsum(totals) - totals
    begins[ranges(first + 1, num_gaps)] = is_cut
    begins[first[totals > 0]] = True
    return np.diff(np.flatnonzero(begins), append=len(begins))


def _sum_before(lengths: IntArray, counts: IntArray) -> IntArray:
    """Returns for each span the sum of those before it in its sequence."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    first = np.cumsum(counts) - counts
    return ends[:-1] - np.repeat(ends[first], counts)
