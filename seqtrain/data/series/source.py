"""Time series from CSV, TSV, npy or Parquet files."""

import csv
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.data.text.byte_streams import Location, name_without_compression, open_stream
from seqtrain.data.text.lines import read_lines
from seqtrain.errors import DataError, MachineError

MISSING_TEXTS = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})
"""What stands for a missing number in text, in lower case."""


@dataclass(frozen=True)
class SeriesTable:
    """One series of several channels, row by row in time.

    Args:
        values: float64 [time, channels]; nan where a value is missing.
        columns: Name of each channel.
        times: When each row was measured, in seconds since 1970, int64 [time]; None if unknown.
    """

    values: npt.NDArray[np.float64]
    columns: list[str]
    times: npt.NDArray[np.int64] | None

    def select(self, columns: list[str]) -> "SeriesTable":
        """Returns some channels, in the order asked for; all of them if none is named.

        Raises:
            DataError: There is no such channel.
        """
        if not columns:
            return self
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise DataError(
                f"There is no column {missing[0]!r}. There are: {', '.join(self.columns)}. Correct "
                "task.columns or task.target_columns."
            )
        places = [self.columns.index(name) for name in columns]
        return SeriesTable(self.values[:, places], list(columns), self.times)


def read_series(location: Location, time_column: str = "") -> SeriesTable:
    """Reads a series from a file.

    CSV, TSV (also compressed) and Parquet: the first row names the columns. The column of times is
    the one named, or the first one if it holds no numbers. npy: [time] or [time, channels],
    without times.

    Args:
        location: The file; its ending says what it is.
        time_column: Name of the column that holds dates, or numbers of seconds since 1970.

    Raises:
        DataError: The file cannot be read; the message names line and column.
        MachineError: A package is missing.
    """
    name = name_without_compression(location)
    if name.endswith(".npy"):
        table = _from_array(location)
    elif name.endswith(".parquet"):
        table = _from_columns(location, _parquet_columns(location), time_column)
    elif name.endswith((".csv", ".tsv")):
        table = _from_columns(location, _text_columns(location), time_column)
    else:
        raise DataError(f"{location}: its name must end with .csv, .tsv, .npy or .parquet.")
    if not len(table.values) or not table.columns:
        raise DataError(f"{location}: holds no values. Give at least one row and one column.")
    return table


def parse_time(text: str, place: str) -> int:
    """Returns a date as seconds since 1970.

    Raises:
        DataError: It is no date as in 2016-07-01 13:00:00.
    """
    try:
        return int(np.datetime64(text.strip().replace("/", "-"), "s").astype(np.int64))
    except ValueError as error:
        raise DataError(
            f"{place}: {text!r} is no date. Write 2016-07-01 13:00:00, or name another column "
            "with task.time_column."
        ) from error


def _from_array(location: Location) -> SeriesTable:
    try:
        with open_stream(location) as stream:
            array = np.load(stream, allow_pickle=False)
        values = np.asarray(array, dtype=np.float64)
    except (ValueError, EOFError) as error:
        raise DataError(f"{location}: no array of numbers: {error}. Save it again.") from error
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise DataError(
            f"{location}: an array {list(values.shape)}, expected is [time, channels]. Reshape it."
        )
    return SeriesTable(values, [str(index) for index in range(values.shape[1])], None)


def _from_columns(
    location: Location, columns: dict[str, list[Any]], time_column: str
) -> SeriesTable:
    if time_column and time_column not in columns:
        raise DataError(
            f"{location}: no column {time_column!r}. There are: {', '.join(columns)}. Correct "
            "task.time_column."
        )
    if not time_column:
        first = next(iter(columns), "")
        if first and not _is_number(next(iter(columns[first]), 0.0)):
            time_column = first
    names = [name for name in columns if name != time_column]
    values = np.empty((len(next(iter(columns.values()), [])), len(names)))
    for index, name in enumerate(names):
        # The names stand in the first line.
        rows = enumerate(columns[name], start=2)
        values[:, index] = [_number(value, location, name, row) for row, value in rows]
    times = None
    if time_column:
        times = _times(columns[time_column], f"{location}: column {time_column}")
    return SeriesTable(values, names, times)


def _times(column: list[Any], place: str) -> npt.NDArray[np.int64]:
    rows = enumerate(column, start=2)
    times = np.array([_seconds(value, f"{place}, row {row}") for row, value in rows], np.int64)
    not_later = np.flatnonzero(np.diff(times) <= 0)
    if len(not_later):
        row = int(not_later[0]) + 3
        raise DataError(f"{place}, row {row}: not later than the row before. Sort the rows.")
    return times


def _text_columns(location: Location) -> dict[str, list[Any]]:
    lines = (f"{line}\n" for line in read_lines(location))
    delimiter = "\t" if name_without_compression(location).endswith(".tsv") else ","
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    found: list[list[str]] = []
    try:
        header = [name.strip() for name in next(rows, [])]
        for row in rows:
            if len(row) != len(header):
                raise DataError(
                    f"{location}:{rows.line_num}: {len(row)} fields, the first line names "
                    f"{len(header)}. Correct the row."
                )
            found.append(row)
    except csv.Error as error:
        raise DataError(f"{location}:{rows.line_num}: {error}. Correct the row.") from error
    if len(set(header)) != len(header):
        raise DataError(f"{location}:1: a column is named twice. Rename one.")
    columns = zip(*found, strict=True) if found else [()] * len(header)
    return {name: list(column) for name, column in zip(header, columns, strict=True)}


def _parquet_columns(location: Location) -> dict[str, list[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MachineError("Parquet needs a package: pip install 'seqtrain[parquet]'.") from None
    with open_stream(location) as stream:
        try:
            table = pyarrow.parquet.read_table(stream)
        except pyarrow.ArrowException as error:
            raise DataError(f"{location}: not Parquet: {error}. Restore the file.") from error
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return value.strip().lower() in MISSING_TEXTS
        return True
    return value is None or isinstance(value, int | float)


def _number(value: Any, location: Location, name: str, row: int) -> float:
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING_TEXTS):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"{location}: column {name}, row {row}: {value!r} is no number. Correct it, name other "
            "columns with task.columns, or name the column of dates with task.time_column."
        ) from None
    if math.isinf(number):
        raise DataError(f"{location}: column {name}, row {row}: the value is infinite. Remove it.")
    return number


def _seconds(value: Any, place: str) -> int:
    """Returns a time as seconds: a number is one already, but for 2016 and 20160701."""
    if isinstance(value, int | float) and math.isfinite(value):
        return int(value)
    text = str(value).strip()
    if text.isdecimal() and len(text) == 8:
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if text.isdecimal() and len(text) != 4:
        return int(text)
    return parse_time(text, place)
