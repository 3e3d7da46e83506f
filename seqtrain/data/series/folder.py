"""A series as a folder: converted once by `seqtrain-preprocess`, mapped by every run."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from seqtrain.data.prepared_folder import building_folder, damaged, read_card, write_card
from seqtrain.data.series.source import SeriesTable
from seqtrain.data.series.time_features import as_text
from seqtrain.errors import DataError

KIND = "seqtrain series"
VERSION = 1
VALUES = "values.npy"
TIMES = "times.npy"


def write_series(table: SeriesTable, source: str, out: Path) -> list[str]:
    """Writes a folder for `task.data`: all columns in original units, unscaled and not split.

    Args:
        table: The series.
        source: Where it came from, for the card.
        out: The folder; one of the same kind is replaced.

    Returns:
        What it holds, in lines for people.
    """
    with building_folder(out, KIND) as folder:
        np.save(folder / VALUES, table.values)
        files = [VALUES]
        if table.times is not None:
            np.save(folder / TIMES, table.times)
            files.append(TIMES)
        card = {
            "source": source,
            "columns": table.columns,
            "num_rows": len(table.values),
            "sha256": {name: _sha256(folder / name) for name in files},
        }
        write_card(folder, KIND, VERSION, card)
    return [*series_lines(table), f"written to {out}"]


def is_series_folder(folder: Path) -> bool:
    """Says whether a folder was written by `write_series`."""
    try:
        read_card(folder, KIND, VERSION)
    except DataError:
        return False
    return True


def open_series(folder: Path) -> SeriesTable:
    """Opens a folder that `write_series` wrote.

    Raises:
        DataError: It is not such a folder, or a file in it is damaged or was exchanged.
    """
    card = read_card(folder, KIND, VERSION)
    try:
        columns = [str(name) for name in card["columns"]]
        shape = (int(card["num_rows"]), len(columns))
        hashes = dict(card["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder / "card.json", f"a field is missing or wrong: {error}") from error
    arrays = {name: _open(folder / name, str(hashes[name])) for name in hashes}
    if set(arrays) - {TIMES} != {VALUES} or arrays[VALUES].shape != shape:
        raise damaged(folder / VALUES, "it does not fit the card")
    times = arrays.get(TIMES)
    if times is not None and times.shape != shape[:1]:
        raise damaged(folder / TIMES, "it does not fit the card")
    return SeriesTable(arrays[VALUES], columns, times)


def series_lines(table: SeriesTable) -> list[str]:
    """Returns what a series holds, in lines for people."""
    rows, channels = table.values.shape
    shown = ", ".join(table.columns[:10]) + (", ..." if channels > 10 else "")
    lines = [f"{rows} rows of {channels} columns: {shown}"]
    if table.times is not None:
        lines.append(f"from {as_text(int(table.times[0]))} to {as_text(int(table.times[-1]))}")
    missing = int(np.isnan(table.values).sum())
    if missing:
        lines.append(f"{missing} of {table.values.size} values are missing")
    return lines


def _open(path: Path, sha256: str) -> Any:
    try:
        found = _sha256(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, f"cannot be read: {error}") from error
    if found != sha256:
        raise damaged(path, f"its sha256 is {found}, expected is {sha256}")
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
