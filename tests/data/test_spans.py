from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.keyed_random import ExampleRandom
from seqtrain.data.noise.spans import limit_spans, place_spans, split_evenly


@settings(deadline=None, max_examples=100)
@given(data=st.data(), num_rows=st.integers(1, 5), seed=st.integers(0, 99))
def test_spans_lie_within_their_sequence_in_order_and_do_not_touch(
    data: st.DataObject, num_rows: int, seed: int
) -> None:
    rows = [data.draw(st.lists(st.integers(0, 4), max_size=5)) for _ in range(num_rows)]
    counts = np.array([len(row) for row in rows])
    free = [data.draw(st.integers(max(len(row) - 1, 0), 9)) for row in rows]
    room = np.array([sum(row) for row in rows]) + np.array(free)
    lengths = np.array([length for row in rows for length in row], dtype=np.int64)
    spans = place_spans(ExampleRandom(seed, 1, np.arange(num_rows)), room, counts, lengths)
    assert spans.rows.tolist() == [number for number, row in enumerate(rows) for _ in row]
    assert spans.lengths.tolist() == lengths.tolist()
    for number, row in enumerate(rows):
        begins = spans.begins[spans.rows == number].tolist()
        ends = [begin + length for begin, length in zip(begins, row, strict=True)]
        assert all(end < begin for end, begin in zip(ends, begins[1:], strict=False))
        assert not begins or (begins[0] >= 0 and ends[-1] <= room[number])


def test_every_arrangement_is_equally_likely() -> None:
    examples = np.arange(6000)
    room, counts = np.full(6000, 5), np.full(6000, 2)
    spans = place_spans(ExampleRandom(0, 1, examples), room, counts, np.tile([1, 2], 6000))
    seen = Counter(map(tuple, spans.begins.reshape(-1, 2).tolist()))
    assert set(seen) == {(0, 2), (0, 3), (1, 3)}
    assert max(seen.values()) - min(seen.values()) < 300


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5))
def test_parts_are_positive_and_add_up(rows: list[tuple[int, int]]) -> None:
    totals = np.array([total for total, _ in rows])
    counts = np.array([min(max(count, 1), total) for total, count in rows])
    lengths = split_evenly(ExampleRandom(0, 1, np.arange(len(rows))), totals, counts)
    owners = np.repeat(np.arange(len(rows)), counts)
    assert len(lengths) == counts.sum()
    assert (lengths > 0).all()
    sums = np.bincount(owners, weights=lengths, minlength=len(rows))
    assert sums.tolist() == totals.tolist()


def test_every_division_is_equally_likely() -> None:
    random = ExampleRandom(0, 1, np.arange(6000))
    lengths = split_evenly(random, np.full(6000, 4), np.full(6000, 3))
    seen = Counter(map(tuple, lengths.reshape(-1, 3).tolist()))
    assert set(seen) == {(1, 1, 2), (1, 2, 1), (2, 1, 1)}
    assert max(seen.values()) - min(seen.values()) < 300


def test_drawn_spans_fill_their_budget_and_the_last_is_cut() -> None:
    drawn = np.array([3, 3, 2, 3])
    lengths = np.array([2, 2, 5, 0, 1, 1, 4, 4, 1, 1, 1])
    budget, room = np.array([3, 2, 0, 3]), np.array([20, 20, 20, 4])
    counts, kept = limit_spans(lengths, drawn, budget, room)
    # Row 3: four places hold two spans of one symbol apart from another, not three.
    assert counts.tolist() == [2, 2, 0, 2]
    assert kept.tolist() == [2, 1, 0, 1, 1, 1]
