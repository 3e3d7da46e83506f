"""The curves of a report as PNG files, for a paper."""

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqtrain.errors import MachineError
from seqtrain.files import write_atomically
from seqtrain.report.chart import Chart, x_positions, y_axis_of
from seqtrain.report.panels import panels_of
from seqtrain.report.run_log import RunLog

_MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "turned": "v",
            "cross": "x"}  # fmt: skip


def write_pictures(runs: Sequence[RunLog], folder: Path) -> list[Path]:
    """Writes a PNG for each chart of the report, over updates; returns the files.

    Raises:
        MachineError: The package matplotlib is missing, or the folder cannot be written.
    """
    figure_class = _figure_class()
    panels = panels_of(runs)
    written: list[Path] = []
    for chart in [*panels.main, *panels.further]:
        figure = figure_class(figsize=(5.2, 3.4), layout="constrained")
        _draw(figure, chart)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=200)
        path = folder / f"{_file_name(chart.title, len(written))}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.getvalue())
        except OSError as error:
            raise MachineError(f"png={folder}: {path} cannot be written: {error}.") from error
        written.append(path)
    return written


def _file_name(title: str, index: int) -> str:
    """Returns a title as a name; the index tells those apart that a file cannot be called by."""
    name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    return name if name == title.lower().replace(" ", "_") else f"{name[:60]}_{index}".lstrip("_")


def _draw(figure: Any, chart: Chart) -> None:
    axes = figure.add_subplot()
    xs, _, x_label = x_positions(chart, over_time=False)
    for x, line in zip(xs, chart.lines, strict=True):
        dashes = [float(length) / 2 for length in line.style.dashes.split()]
        axes.plot(
            x, line.values, color=line.style.colour, label=_plain(line.label),
            linewidth=1.8 if line.is_main else 0.9,
            linestyle=(0, tuple(dashes)) if dashes else "-",
            marker=_MARKERS[line.style.marker], markersize=4.0 if line.is_main else 3.0,
            markerfacecolor=line.style.colour if line.is_main else "white",
            markevery=max(1, math.ceil(len(x) / 12)),
        )  # fmt: skip
    if chart.is_log:
        axes.set_yscale("log")
    else:
        axis = y_axis_of(chart)
        axes.set_ylim(axis.low, axis.high)
    axes.set_xlabel(x_label)
    axes.set_ylabel(_plain(chart.y_label))
    axes.grid(alpha=0.3)
    if len(chart.lines) > 1:
        axes.legend(fontsize="small", frameon=False)


def _plain(text: str) -> str:
    """A dollar sign would begin a formula, and an underscore at the front hide a legend."""
    return text.replace("$", r"\$").lstrip("_")


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MachineError("Pictures need a package: pip install 'seqtrain[plot]'.") from None
    return Figure
