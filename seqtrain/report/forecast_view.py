"""Forecasts as pictures: what was known, what came, what was forecast."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqtrain.report.chart import Chart, Line, legend, svg
from seqtrain.report.markup import element
from seqtrain.report.styles import Style

MOST_COLUMNS = 4


def forecast_pictures(prediction: Mapping[str, Any]) -> list[str]:
    """Returns a picture of each of the first columns of a forecast, as markup."""
    return forecasts_over_training([(0, prediction)])


def forecasts_over_training(found: Sequence[tuple[int, Mapping[str, Any]]]) -> list[str]:
    """Returns pictures of the last forecast with the first one beside it, as markup.

    Args:
        found: Updates and what the task predicted after them; of any shape, as files may hold it.
    """
    if not found:
        return []
    last = found[-1][1].get("forecast")
    columns = list(last)[:MOST_COLUMNS] if isinstance(last, Mapping) else []
    return [_picture(str(column), found) for column in columns]


def _picture(column: str, found: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    (first_update, first), (last_update, last) = found[0], found[-1]
    history = _numbers(last, "history", column)
    lines = [_series("known", Style(2), history, -len(history), is_main=False)]
    actual = _numbers(last, "actual", column)
    if any(math.isfinite(value) for value in actual):
        lines.append(_series("came", Style(3), actual, 0, is_main=False))
    forecast = _numbers(last, "forecast", column)
    if first_update == last_update:
        lines.append(_series("forecast", Style(0), forecast, 0))
    else:
        early = _numbers(first, "forecast", column)
        label = f"forecast after {first_update:,} updates"
        lines.append(_series(label, Style(1), early, 0, is_main=False))
        lines.append(_series(f"after {last_update:,} updates", Style(0), forecast, 0))
    chart = Chart(
        title=f"forecast of {column}",
        y_label=column[:30],
        lines=lines,
        x_label="rows from the first that is forecast",
    )
    return element("figure", svg(chart) + legend(lines))


def _series(
    label: str, style: Style, values: list[float], first: int, is_main: bool = True
) -> Line:
    steps = range(first, first + len(values))
    return Line(label=label, style=style, updates=steps, seconds=[], values=values, is_main=is_main)


def _numbers(prediction: Mapping[str, Any], key: str, column: str) -> list[float]:
    columns = prediction.get(key)
    values = columns.get(column) if isinstance(columns, Mapping) else None
    if not isinstance(values, list):
        return []
    return [float(v) if isinstance(v, int | float) and abs(v) < 1e100 else math.nan for v in values]
