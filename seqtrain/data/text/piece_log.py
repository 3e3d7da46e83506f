r"""Pieces of text in a file that only grows: what survives when preparing is interrupted.

A file holds records: magic, kind (0 pieces, 1 end), bytes and crc32 of the body, body. A record
that is not whole ends the file. Numbers are little-endian.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from seqtrain.errors import DataError, MachineError

MAGIC = b"SEQP"
RECORD = struct.Struct("<4sBQI")
PIECES, END = 0, 1
SEGMENT = struct.Struct("<QIB")  # rows, breaks, columns
# symbols, bytes of their spelling, lines, pieces, characters, bytes, width of lengths and pieces
COLUMN = struct.Struct("<IQIQQQBB")
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CutColumn:
    """The pieces of one column of some rows.

    Args:
        symbols: The distinct pieces.
        counts: How often each occurs.
        flat: Which of them each piece is, one line after the other.
        lengths: Pieces of each line.
        num_characters: Characters of the lines, one more for the end of each.
        num_bytes: The same in bytes of UTF-8.
    """

    symbols: list[str]
    counts: npt.NDArray[np.integer[Any]]
    flat: npt.NDArray[np.integer[Any]]
    lengths: npt.NDArray[np.integer[Any]]
    num_characters: int
    num_bytes: int

    def pack(self) -> bytes:
        """Returns bytes that `Segment.unpack` reads."""
        spelled = "\n".join(self.symbols).encode("utf-8", errors="replace")
        lengths, flat = _narrow(self.lengths), _narrow(self.flat)
        header = COLUMN.pack(
            len(self.symbols),
            len(spelled),
            len(lengths),
            len(flat),
            self.num_characters,
            self.num_bytes,
            lengths.itemsize,
            flat.itemsize,
        )
        parts = (self.counts.astype("<u8"), lengths, flat)
        return b"".join((header, spelled, *(part.tobytes() for part in parts)))


@dataclass(frozen=True)
class Segment:
    """The pieces of some rows.

    Args:
        num_rows: Rows that were read, those left out included.
        breaks: Kept rows, counted in the segment, before which a document begins.
        columns: The pieces of each column.
    """

    num_rows: int
    breaks: IntArray
    columns: tuple[CutColumn, ...]

    def pack(self) -> bytes:
        """Returns bytes that `unpack` reads."""
        header = SEGMENT.pack(self.num_rows, len(self.breaks), len(self.columns))
        breaks = self.breaks.astype("<u4").tobytes()
        return b"".join((header, breaks, *(column.pack() for column in self.columns)))

    @classmethod
    def unpack(cls, body: bytes) -> Self:
        """Returns what `pack` gave."""
        num_rows, num_breaks, num_columns = SEGMENT.unpack_from(body)
        place = SEGMENT.size
        breaks = np.frombuffer(body, "<u4", num_breaks, place).astype(np.int64)
        place += 4 * num_breaks
        columns = []
        for _ in range(num_columns):
            column, place = _unpack_column(body, place)
            columns.append(column)
        return cls(num_rows, breaks, tuple(columns))


class PieceLogWriter:
    """Appends to a log; what was whole before is kept. Use it in a `with` block.

    Args:
        path: The file, there or not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.num_rows = 0
        """Rows that the log holds."""
        self.is_complete = False
        """True if `finish` was called."""
        end = 0
        if path.exists():
            for kind, body, place in _records(path):
                end, self.is_complete = place, kind == END
                self.num_rows += SEGMENT.unpack_from(body)[0] if kind == PIECES else 0
        try:
            self._file: BinaryIO = path.open("r+b" if path.exists() else "xb")
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise self._cannot(error) from error

    def append(self, num_rows: int, packed: bytes) -> None:
        """Adds a segment, packed."""
        self._write(PIECES, packed)
        self.num_rows += num_rows

    def finish(self) -> None:
        """Says that nothing more will come."""
        self._write(END, b"")
        self.is_complete = True

    def _write(self, kind: int, body: bytes) -> None:
        try:
            self._file.write(RECORD.pack(MAGIC, kind, len(body), zlib.crc32(body)))
            self._file.write(body)
            self._file.flush()
        except OSError as error:
            raise self._cannot(error) from error

    def _cannot(self, error: OSError) -> MachineError:
        return MachineError(f"{self._path}: cannot be written: {error.strerror}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # a full disk was reported when it was written to
            self._file.close()


def read_segments(path: Path) -> Iterator[Segment]:
    """Yields the segments of a complete log.

    Raises:
        DataError: It is missing, damaged or not complete.
    """
    kind = PIECES
    for kind, body, _ in _records(path):
        if kind == PIECES:
            yield Segment.unpack(body)
    if kind != END:
        raise DataError(
            f"{path}: is damaged or was not written to its end. Run seqtrain-preprocess as before."
        )


def is_complete(path: Path) -> bool:
    """Says whether a log is there and ends as it should; the rest of it is not looked at."""
    end = RECORD.pack(MAGIC, END, 0, zlib.crc32(b""))
    if not path.exists() or path.stat().st_size < len(end):
        return False
    with path.open("rb") as file:
        file.seek(-len(end), os.SEEK_END)
        return file.read() == end


def _records(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Yields kind, body and end of each whole record."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while len(header := file.read(RECORD.size)) == RECORD.size:
                magic, kind, length, crc = RECORD.unpack(header)
                if magic != MAGIC or kind not in (PIECES, END) or length > size:
                    return
                body = file.read(length)
                if len(body) != length or zlib.crc32(body) != crc:
                    return
                yield kind, body, file.tell()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}. Run seqtrain-preprocess for this part."
        ) from error


def _unpack_column(body: bytes, place: int) -> tuple[CutColumn, int]:
    (
        num_symbols,
        num_spelled,
        num_lines,
        num_pieces,
        num_characters,
        num_bytes,
        length_width,
        piece_width,
    ) = COLUMN.unpack_from(body, place)
    place += COLUMN.size
    spelled = body[place : place + num_spelled].decode()
    place += num_spelled
    arrays: list[npt.NDArray[Any]] = []
    for count, width in ((num_symbols, 8), (num_lines, length_width), (num_pieces, piece_width)):
        arrays.append(np.frombuffer(body, f"<u{width}", count, place))
        place += count * width
    counts, lengths, flat = arrays
    symbols = spelled.split("\n") if num_symbols else []
    return CutColumn(symbols, counts, flat, lengths, num_characters, num_bytes), place


def _narrow(array: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
    most = int(array.max(initial=0))
    width = 1 if most < 1 << 8 else 2 if most < 1 << 16 else 4
    return array.astype(f"<u{width}", copy=False)
