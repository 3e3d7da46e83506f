"""Raw labelled examples from npz, npy, JSON lines and CSV."""

import csv
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.data.text.byte_streams import Location, name_without_compression
from seqtrain.data.text.lines import read_lines
from seqtrain.errors import DataError

KINDS = (".npz", ".npy", ".jsonl", ".ndjson", ".csv")
MAX_LINE_BYTES = 1 << 30
LABELS_SUFFIX = ".labels.npy"


@dataclass(frozen=True, kw_only=True)
class RawExample:
    """One example as its file has it; one of values, tokens and text is there.

    Args:
        place: File and line, or entry, for messages.
        values: float32 [*positions, channels].
        tokens: Symbols, cut already.
        text: To be cut by a tokenizer.
        labels: One, [], or one for each position; numbers, or objects that are str, numbers or
            None. None: there is no label.
    """

    place: str
    values: npt.NDArray[np.float32] | None = None
    tokens: list[str] | None = None
    text: str | None = None
    labels: npt.NDArray[Any] | None = None


def read_examples(location: Location, per_position: bool) -> Iterator[RawExample]:
    """Yields the examples of a file.

    Raises:
        DataError: The file cannot be read or an example is not of a known form; the message names
            the place.
    """
    name = name_without_compression(location)
    if name.endswith(".npz"):
        return _read_npz(Path(location), per_position)
    if name.endswith(".npy"):
        return _read_npy(Path(location), per_position)
    if name.endswith((".jsonl", ".ndjson")):
        return _read_json(location)
    if name.endswith(".csv"):
        return _read_csv(location, per_position)
    raise DataError(
        f"{location}: labelled examples are read from {', '.join(KINDS)} (see the help of "
        "task.train). Convert the file."
    )


def raw_example(record: Any, place: str) -> RawExample:
    """Returns the example that a JSON object describes.

    Args:
        record: {"values": nested list}, {"tokens": list or text} or {"text": ...}, with "label",
            "labels" or neither.
        place: For messages.

    Raises:
        DataError: It is not of that form.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"{place}: {type(record).__name__}, not an object. Give one a line.")
    kinds = [name for name in ("values", "tokens", "text") if name in record]
    if len(kinds) != 1:
        raise DataError(
            f"{place}: needs one of the fields values, tokens and text; there are: "
            f"{', '.join(map(str, record)) or 'none'}. Correct the line."
        )
    labels = _json_labels(record, place)
    if kinds[0] == "values":
        return RawExample(place=place, values=as_values(record["values"], place), labels=labels)
    if kinds[0] == "text":
        if not isinstance(record["text"], str):
            raise DataError(f"{place}: the field text is no text. Correct the line.")
        return RawExample(place=place, text=record["text"], labels=labels)
    tokens: list[Any] = []
    if isinstance(record["tokens"], str | list):
        tokens = list(record["tokens"])
    if not tokens or not all(isinstance(token, str) and token for token in tokens):
        raise DataError(
            f"{place}: tokens must be a text (each character one) or a list of texts that are not "
            "empty. Correct the line."
        )
    return RawExample(place=place, tokens=tokens, labels=labels)


def as_values(values: Any, place: str) -> npt.NDArray[np.float32]:
    """Returns numbers as float32 [*positions, channels]; a flat list is one channel.

    Raises:
        DataError: They are no finite numbers, or do not make a rectangle.
    """
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{place}: values are not numbers of one shape: {error}. Give [time, channels]."
        ) from error
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim not in (2, 3):
        raise DataError(
            f"{place}: values of shape {list(array.shape)}. Give [time, channels], [time], or "
            "[height, width, channels]."
        )
    if array.size == 0:
        raise DataError(f"{place}: no values. Remove the example.")
    bad = ~np.isfinite(array)
    if bad.any():
        where = [int(index) for index in np.argwhere(bad)[0]]
        raise DataError(
            f"{place}: the value at {where} is {array[tuple(where)]}. Fill it in or remove the "
            "example."
        )
    return array


def _json_labels(record: Mapping[str, Any], place: str) -> npt.NDArray[Any] | None:
    if "labels" not in record:
        return np.array(record["label"], dtype=object) if "label" in record else None
    labels = record["labels"]
    try:
        # A text is one label for each character.
        return np.array(list(labels) if isinstance(labels, str) else labels, dtype=object)
    except ValueError as error:
        raise DataError(f"{place}: labels are not of one shape: {error}.") from error


def _read_json(location: Location) -> Iterator[RawExample]:
    for number, line in enumerate(read_lines(location, MAX_LINE_BYTES), start=1):
        place = f"{location}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: not JSON: {error}. Give one object a line.") from error
        yield raw_example(record, place)


def _read_npz(path: Path, per_position: bool) -> Iterator[RawExample]:
    arrays = _load_npz(path)
    if "values" not in arrays:
        raise DataError(
            f"{path}: no array 'values'. There are: {', '.join(arrays) or 'none'}. Name them "
            "values, labels and, where examples stand one after the other, lengths."
        )
    values, labels = arrays["values"], arrays.get("labels")
    if labels is not None and "classes" in arrays:
        labels = _named(labels, arrays["classes"], path)
    if "lengths" not in arrays:
        yield from _rows(path, values, labels, per_position)
        return
    lengths = arrays["lengths"]
    if lengths.ndim != 1 or int(lengths.sum()) != len(values) or bool((lengths < 0).any()):
        raise DataError(
            f"{path}: lengths sum to {int(lengths.sum())} and values has {len(values)} rows."
        )
    wanted = len(values) if per_position else len(lengths)
    _check_count(path, labels, wanted)
    ends = np.cumsum(lengths)
    for index, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
        place = f"{path}: entry {index}"
        own = slice(end - length, end) if per_position else index
        yield RawExample(
            place=place,
            values=as_values(values[end - length : end], place),
            labels=None if labels is None else np.asarray(labels[own]),
        )


def _read_npy(path: Path, per_position: bool) -> Iterator[RawExample]:
    values = _load(path)
    labels_path = path.with_suffix("").with_suffix(LABELS_SUFFIX)
    labels = _load(labels_path) if labels_path.exists() else None
    yield from _rows(path, values, labels, per_position)


def _rows(
    path: Path, values: npt.NDArray[Any], labels: npt.NDArray[Any] | None, per_position: bool
) -> Iterator[RawExample]:
    """Yields examples of one shape: [examples, time] or [examples, time, channels] or images.

    With labels for positions, or four dimensions, the last one holds channels if it is not one of
    the positions; three dimensions of one label an example are [examples, time, channels].
    """
    _check_count(path, labels, len(values))
    is_flat = per_position and labels is not None and labels.ndim == values.ndim
    for index, row in enumerate(values):
        place = f"{path}: entry {index}"
        yield RawExample(
            place=place,
            values=as_values(row[..., None] if is_flat else row, place),
            labels=None if labels is None else np.asarray(labels[index]),
        )


def _named(labels: npt.NDArray[Any], classes: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Returns labels as names, of indices of names; -1 stays."""
    names = np.array([*map(str, classes.tolist()), "-1"], dtype=object)
    if labels.dtype.kind not in "iu" or (labels < -1).any() or (labels > len(classes) - 1).any():
        raise DataError(f"{path}: labels must be integers from -1 to {len(classes) - 1}.")
    return names[labels]


def _check_count(path: Path, labels: npt.NDArray[Any] | None, wanted: int) -> None:
    if labels is not None and (labels.ndim == 0 or len(labels) != wanted):
        found = len(labels) if labels.ndim else 1
        raise DataError(f"{path}: {found} labels, {wanted} are needed. Correct the file.")


def _load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}. Give the path of a file.") from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise DataError(
            f"{path}: not an archive of plain arrays: {error}. Write it with numpy.savez."
        ) from error


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        loaded: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return loaded
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}. Give the path of a file.") from error
    except (ValueError, EOFError) as error:
        raise DataError(
            f"{path}: not an array of numbers: {error}. Write it with numpy.save."
        ) from error


def _read_csv(location: Location, per_position: bool) -> Iterator[RawExample]:
    lines = (f"{line}\n" for line in read_lines(location, MAX_LINE_BYTES))
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows)
        numbered = ((f"{location}:{rows.line_num}", row) for row in rows if row)
        if "id" in header:
            yield from _long_csv(header, numbered, per_position)
        else:
            for place, row in numbered:
                yield _wide_row(header, row, place)
    except csv.Error as error:
        raise DataError(f"{location}:{rows.line_num}: {error}. Correct the row.") from error


def _wide_row(header: list[str], row: list[str], place: str) -> RawExample:
    """One example a row; cells that are empty at the end make it shorter."""
    _check_width(header, row, place)
    cells = dict(zip(header, row, strict=True))
    labels = np.array(cells.pop("label"), dtype=object) if "label" in cells else None
    if "text" in cells:
        return RawExample(place=place, text=cells["text"], labels=labels)
    values = list(cells.values())
    while values and not values[-1].strip():
        values.pop()
    return RawExample(place=place, values=as_values(_floats(values, place), place), labels=labels)


def _long_csv(
    header: list[str], rows: Iterator[tuple[str, list[str]]], per_position: bool
) -> Iterator[RawExample]:
    """One position a row; neighbours with one id are an example."""
    begin, current = "", None
    values: list[list[float]] = []
    labels: list[str] = []

    def finished() -> RawExample:
        if not per_position and len(set(labels)) > 1:
            raise DataError(f"{begin}: the rows of id {current!r} have several labels.")
        found = np.array(labels if per_position else labels[0], dtype=object) if labels else None
        return RawExample(place=begin, values=as_values(values, begin), labels=found)

    for place, row in rows:
        _check_width(header, row, place)
        cells = dict(zip(header, row, strict=True))
        name = cells.pop("id")
        if name != current:
            if values:
                yield finished()
            begin, current, values, labels = place, name, [], []
        if "label" in cells:
            labels.append(cells.pop("label"))
        values.append(_floats(list(cells.values()), place))
    if values:
        yield finished()


def _check_width(header: Sequence[str], row: Sequence[str], place: str) -> None:
    if len(row) != len(header):
        raise DataError(f"{place}: {len(row)} cells, the header has {len(header)}.")


def _floats(cells: Sequence[str], place: str) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"{place}: {error}. Give numbers.") from error
