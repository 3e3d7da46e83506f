"""What a task reads, for a page that asks people for it."""

from dataclasses import dataclass
from typing import Any

from seqtrain.tasks.base import Task
from seqtrain.tasks.forecasting import ForecastingTask
from seqtrain.tasks.labelled_task import LabelledTask

LINES, ROWS = "lines", "rows"


@dataclass(frozen=True)
class InputForm:
    """How an input is written."""

    kind: str
    """lines: each line is an input; rows: all lines are one input, numbers in each."""
    hint: str
    example: str = ""


def input_form(task: Task) -> InputForm:
    """Returns how people write inputs for a task."""
    if isinstance(task, ForecastingTask):
        return _of_series(task)
    if isinstance(task, LabelledTask) and task.info.side is None:
        return _of_values(task)
    return InputForm(LINES, "One input a line.")


def _of_series(task: ForecastingTask) -> InputForm:
    columns = task.settings.columns
    look_back: int = task.config.look_back
    hint = (
        f"The last {look_back} rows or more, oldest first; in each, numbers for "
        f"{', '.join(columns[:12])}{' ...' if len(columns) > 12 else ''}."
    )
    if task.config.time_features:
        hint += ' Or JSON with the time of the last row: {"values": [[...], ...], "time": "..."}.'
    centers = [float(f"{value:.4g}") for value in task.settings.centers.tolist()]
    row = ", ".join(f"{_original(task, index, value):g}" for index, value in enumerate(centers))
    return InputForm(ROWS, hint, "\n".join([row] * min(look_back, 512)))


def _original(task: ForecastingTask, index: int, value: float) -> float:
    scaler = task.settings.scaler
    return float(f"{value * float(scaler.scale[index]) + float(scaler.shift[index]):.4g}")


def _of_values(task: LabelledTask) -> InputForm:
    info: Any = task.info
    if info.rank > 1:
        return InputForm(ROWS, f'JSON: {{"values": rows of pixels of {info.num_channels} values}}.')
    word = "number" if info.num_channels == 1 else "numbers"
    length = info.max_shape[0] if info.max_shape else 0
    return InputForm(
        ROWS,
        f"One position a row, {info.num_channels} {word} in each"
        + (f"; examples had up to {length} positions." if length else "."),
    )
