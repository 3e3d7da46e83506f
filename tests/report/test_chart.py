import itertools
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.report.chart import MOST_POINTS, Chart, Line, legend, svg, thinned
from seqtrain.report.styles import Style


def chart(*values: list[float], **settings: Any) -> Chart:
    lines = [
        Line(
            label=f"line {index}",
            style=Style(index),
            updates=list(range(1, len(each) + 1)),
            seconds=[60.0 * step for step in range(len(each))],
            values=each,
        )
        for index, each in enumerate(values)
    ]
    return Chart(title="Loss", y_label="loss per target", lines=lines, **settings)


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter("text")]


def test_a_chart_has_labelled_axes_over_updates_and_over_time() -> None:
    picture = chart([3.0, 2.0, 1.0])
    assert {"updates", "loss per target"} <= set(texts(svg(picture)))
    assert {"minutes of training", "loss per target"} <= set(texts(svg(picture, over_time=True)))
    assert ET.fromstring(svg(picture)).get("aria-label") == "Loss: loss per target over updates"


def test_lines_differ_by_colour_dashes_and_markers() -> None:
    styles = [Style(index) for index in range(35)]
    assert len({(s.colour, s.dashes) for s in styles}) == 35
    assert len({s.marker for s in styles[:5]}) == 5
    assert len({s.dashes for s in styles[:5]}) == 5
    drawn = svg(chart([1.0, 2.0], [2.0, 3.0]))
    assert Style(1).dashes in drawn
    assert Style(0).colour in drawn


def test_neighbouring_colours_differ_in_grey() -> None:
    def grey(colour: str) -> float:
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    levels = [grey(Style(index).colour) for index in range(8)]
    assert min(abs(a - b) for a, b in itertools.pairwise(levels)) > 25


def test_a_value_that_is_missing_makes_a_gap() -> None:
    drawn = svg(chart([1.0, math.nan, 2.0, 3.0]))
    (path,) = re.findall(r'<path d="(M[^"]*)" fill="none" stroke="#0072b2"', drawn)
    assert path.count("M") == 2
    assert "nan" not in drawn


def test_large_ratios_are_drawn_logarithmically_where_that_is_wanted() -> None:
    assert "loss per target (log scale)" in texts(svg(chart([1.0, 1e4], may_be_log=True)))
    assert not chart([1.0, 2.0], may_be_log=True).is_log
    assert not chart([0.0, 1e4], may_be_log=True).is_log


@settings(max_examples=40)
@given(st.lists(st.floats(-1e9, 1e9) | st.just(math.nan), max_size=3 * MOST_POINTS))
def test_thinned_lines_keep_their_extremes(values: list[float]) -> None:
    xs = [float(index) for index in range(len(values))]
    points = thinned(xs, values)
    assert len(points) <= 1.1 * MOST_POINTS
    assert points == sorted(points, key=lambda point: point[0])
    known = [value for value in values if not math.isnan(value)]
    if known:
        kept = [y for _, y in points if not math.isnan(y)]
        assert (min(kept), max(kept), kept[-1]) == (min(known), max(known), kept[-1])


@settings(max_examples=40)
@given(st.lists(st.lists(st.floats(-1e99, 1e99) | st.just(math.nan), max_size=6), max_size=3))
def test_any_values_make_a_picture_inside_its_frame(values: list[list[float]]) -> None:
    picture = svg(chart(*values))
    ET.fromstring(picture)
    for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", picture):
        assert -20 <= float(x) <= 450
        assert -20 <= float(y) <= 290


def test_names_of_lines_are_text() -> None:
    named = chart([1.0, 2.0])
    evil = Line(label="</svg><script>", style=Style(0), updates=[1], seconds=[1.0], values=[1.0])
    drawn = svg(Chart(title='"><b>', y_label="<i>", lines=[*named.lines, evil])) + legend([evil])
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert "<i>" not in drawn
