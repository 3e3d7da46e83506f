"""Tables whose rows have text in named fields: JSON lines, CSV, TSV and Parquet."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seqtrain.data.text.byte_streams import Location, name_without_compression, open_stream
from seqtrain.data.text.lines import read_lines
from seqtrain.errors import DataError, MachineError

KINDS = {".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
FIELD_KEYS = "task.field of text, task.source_field and task.target_field of pairs"
MAX_RECORD_BYTES = 64 << 20
Row = tuple[str, ...]


def is_table(location: Location) -> bool:
    """Says whether a file's name is that of a table; an ending of compression does not count."""
    return _kind(location) != ""


def read_records(
    location: Location, fields: Sequence[str], may_hold_line_ends: bool = False
) -> Iterator[Row]:
    r"""Yields some fields of each row, in the order asked for.

    JSON lines and Parquet: a field is a name, or a path of names as in `translation.en`. CSV and
    TSV: the first row names the fields; where all fields asked for are numbers there is no such
    row, and columns count from 1. CSV has quotes as in RFC 4180, TSV has none.

    Args:
        location: The file.
        fields: What to take of each row.
        may_hold_line_ends: A field may be of several lines, which `\n` parts in what is yielded.

    Raises:
        DataError: The file cannot be read, or a row has no such field or one that is not a line
            of text; the message names file and line.
        MachineError: A package is missing.
    """
    readers = {"json": _json, "csv": _separated, "tsv": _separated, "parquet": _parquet}
    check = _lines if may_hold_line_ends else _line
    for row, place in readers[_kind(location)](location, fields):
        yield tuple(check(text, place) for text in row)


def _kind(location: Location) -> str:
    name = name_without_compression(location)
    return next((kind for end, kind in KINDS.items() if name.endswith(end)), "")


def _json(location: Location, fields: Sequence[str]) -> Iterator[tuple[Row, str]]:
    for number, line in enumerate(read_lines(location, MAX_RECORD_BYTES), start=1):
        place = f"{location}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: not JSON: {error}. Give one object a line.") from error
        yield tuple(_text(record, field, place) for field in fields), place


def _separated(location: Location, fields: Sequence[str]) -> Iterator[tuple[Row, str]]:
    lines = (f"{line}\n" for line in read_lines(location))
    if _kind(location) == "tsv":
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        rows = csv.reader(lines, strict=True)
    columns: list[int] | None = None
    if all(field.isdecimal() and int(field) > 0 for field in fields):
        columns = [int(field) - 1 for field in fields]
    try:
        for row in rows:
            place = f"{location}:{rows.line_num}"
            if columns is None:
                columns = _columns(row, fields, place)
                continue
            if len(row) <= max(columns):
                raise DataError(
                    f"{place}: {len(row)} fields, field {max(columns) + 1} is asked for. "
                    "Correct the row."
                )
            yield tuple(row[column] for column in columns), place
    except csv.Error as error:
        raise DataError(f"{location}:{rows.line_num}: {error}. Correct the row.") from error


def _columns(header: list[str], fields: Sequence[str], place: str) -> list[int]:
    missing = [field for field in fields if header.count(field) != 1]
    if missing:
        raise DataError(
            f"{place}: no single field {missing[0]!r}. There are: {', '.join(header)}. Name "
            f"the field: {FIELD_KEYS}."
        )
    return [header.index(field) for field in fields]


def _parquet(location: Location, fields: Sequence[str]) -> Iterator[tuple[Row, str]]:
    package = _pyarrow()
    number = 0
    with open_stream(location) as stream:
        try:
            file = package.parquet.ParquetFile(stream)
            for batch in file.iter_batches(columns=list(fields)):
                for record in batch.to_pylist():
                    number += 1
                    place = f"{location}: row {number}"
                    yield tuple(_text(record, field, place) for field in fields), place
        except package.ArrowException as error:
            raise DataError(f"{location}: not Parquet: {error}. Restore the file.") from error


def _text(record: Any, field: str, place: str) -> str:
    value = record
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        known = ", ".join(record) if isinstance(record, Mapping) else type(record).__name__
        raise DataError(
            f"{place}: no text in the field {field!r}. There are: {known}. Name the "
            f"field: {FIELD_KEYS}; or correct the row."
        )
    return value


def _lines(text: str, place: str) -> str:
    return "\n".join(_line(line, place) for line in text.replace("\r\n", "\n").split("\n"))


def _line(text: str, place: str) -> str:
    for character, name in (("\n", "a line end"), ("\r", "a carriage return"), ("\0", "a NUL")):
        if character in text:
            raise DataError(f"{place}: {name} inside of a field. Replace it by a space.")
    return text


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MachineError("Parquet needs a package: pip install 'seqtrain[parquet]'.") from None
    return pyarrow
