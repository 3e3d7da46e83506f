import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.report.ticks import linear_axis, log_axis, number, spanning_axis, time_unit

VALUES = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-12)


@given(st.lists(VALUES, min_size=1, max_size=5), st.booleans())
def test_an_axis_holds_all_values_and_a_few_marks(values: list[float], from_zero: bool) -> None:
    axis = linear_axis(values, from_zero=from_zero)
    room = 1e-6 * (axis.high - axis.low)
    assert axis.low - room <= min(values) <= max(values) <= axis.high + room
    assert 2 <= len(axis.ticks) == len(axis.labels) <= 9
    assert all(-1e-9 <= axis.place(tick) <= 1 + 1e-9 for tick in axis.ticks)


@given(st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=5))
def test_a_logarithmic_axis_holds_all_values(values: list[float]) -> None:
    axis = log_axis(values)
    assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in values)
    assert 2 <= len(axis.ticks) == len(axis.labels) <= 10
    assert math.isclose(axis.place(math.sqrt(axis.low * axis.high)), 0.5)


@given(st.lists(st.integers(0, 10**9), max_size=5))
def test_updates_are_counted_from_zero_to_the_last(values: list[int]) -> None:
    axis = spanning_axis([float(value) for value in values])
    assert axis.low == 0.0
    assert axis.high == max([*values, 0]) or axis.high == 1.0
    assert all(0 <= tick <= axis.high * (1 + 1e-9) for tick in axis.ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.0005, "5e-4"), (-1.5e-7, "-1.5e-7"), (0.25, "0.25"), (1234.0, "1234"),
        (12500.0, "12.5k"), (3e6, "3M"), (2.5e9, "2.5G"), (1e13, "1e13"), (99.5, "99.5"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_labels_of_an_axis_differ() -> None:
    for values in ([0.0, 0.002], [1.00001, 1.00002], [0.0, 7e5], [-3.0, 4.0], [1e-9, 3e-9]):
        axis = linear_axis(values)
        if values != [1.00001, 1.00002]:  # more digits than anybody reads
            assert len(set(axis.labels)) == len(axis.labels), axis


def test_times_have_the_unit_that_suits_them() -> None:
    assert [time_unit(s)[1] for s in (30, 600, 8000, 300_000)] == [
        "seconds", "minutes", "hours", "days",
    ]  # fmt: skip
