"""Pictures of forecasts: what was known, what was forecast, what came."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqtrain.data.text.lines import read_lines
from seqtrain.errors import ConfigError, DataError, MachineError

MAX_LINE_BYTES = 1 << 28


def read_forecasts(path: Path, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Returns the forecasts with these ids from the JSON lines of seqtrain-generate.

    Raises:
        DataError: The file is not such a file, or has no such forecast.
    """
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(read_lines(path, MAX_LINE_BYTES), start=1):
        try:
            row = json.loads(line)
            index = int(row["id"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not a forecast: {error}.") from error
        if index in ids and "forecast" in row:
            found[index] = row
    missing = [index for index in ids if index not in found]
    if missing:
        raise DataError(f"{path}: holds no forecast with id {missing[0]}. Choose another one.")
    return [found[index] for index in ids]


def plot_forecasts(
    rows: Sequence[Mapping[str, Any]], out: Path, columns: Sequence[str] = ()
) -> None:
    """Draws forecasts, one below the other for each column, side by side for each row.

    Args:
        rows: What `ForecastingTask.predict` returns.
        out: Picture to write; its ending says which kind: .png, .svg, .pdf.
        columns: Which columns; none for the first four.

    Raises:
        ConfigError: There is no such column, or no row.
        MachineError: The package matplotlib is missing.
    """
    if not rows:
        raise ConfigError("There is no forecast to draw: name the ids of some.")
    known = list(rows[0]["forecast"])
    for name in columns:
        if name not in known:
            raise ConfigError(f"No column {name!r} was forecast. There are: {', '.join(known)}.")
    columns = list(columns) or known[:4]
    figure_class = _figure_class()
    figure = figure_class(figsize=(5.5 * len(rows), 2.0 * len(columns) + 0.6), dpi=100)
    axes = figure.subplots(len(columns), len(rows), squeeze=False, sharex="col")
    for place, row in enumerate(rows):
        for line, name in enumerate(columns):
            _draw(axes[line][place], row, name)
        axes[0][place].set_title(row.get("time", "").replace("T", " "), fontsize=10)
        axes[-1][place].set_xlabel("rows from the first that is forecast", fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=9, frameon=False)
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.95))
    figure.savefig(out)


def _draw(axes: Any, row: Mapping[str, Any], name: str) -> None:
    forecast = _numbers(row["forecast"][name])
    steps = np.arange(len(forecast))
    history = _numbers(row["history"][name])
    axes.plot(np.arange(-len(history), 0), history, color="0.55", linewidth=1.0, label="known")
    actual = _numbers(row["actual"][name])
    if not np.isnan(actual).all():
        axes.plot(steps, actual, color="0.15", linewidth=1.0, label="came")
    levels = sorted(row.get("quantiles", {}), key=float)
    if len(levels) > 1:
        low, high = (_numbers(row["quantiles"][level][name]) for level in (levels[0], levels[-1]))
        label = f"{levels[0]} to {levels[-1]}"
        axes.fill_between(steps, low, high, color="tab:orange", alpha=0.25, lw=0, label=label)
    axes.plot(steps, forecast, color="tab:orange", linewidth=1.4, label="forecast")
    axes.axvline(-0.5, color="0.8", linewidth=0.8)
    axes.set_ylabel(name, fontsize=9)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _numbers(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MachineError("Pictures need a package: pip install 'seqtrain[plot]'.") from None
    return Figure
