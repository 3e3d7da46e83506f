"""A file of numbers that is written array by array, hashed on the way."""

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqtrain.errors import MachineError


class ArrayWriter:
    """Writes arrays one after the other into a new file.

    Args:
        path: Of the file.
        name: What messages call it.
        header_bytes: Left free at the beginning for `write_header`.

    Attributes:
        crc32: zlib.crc32 of the arrays so far.

    Raises:
        MachineError: Here and below, the disk is full or refuses.
    """

    def __init__(self, path: Path, name: Path | None = None, header_bytes: int = 0) -> None:
        self.crc32 = 0
        self._name = name or path
        with self._told():
            self._file = path.open("wb")
            self._file.write(bytes(header_bytes))

    def write(self, array: npt.NDArray[Any]) -> None:
        """Appends the numbers of an array as they lie in memory."""
        array = np.ascontiguousarray(array)
        with self._told():
            self._file.write(array.data)
        self.crc32 = zlib.crc32(array.data, self.crc32)

    def write_header(self, header: bytes) -> None:
        """Fills the beginning; nothing is appended afterwards."""
        with self._told():
            self._file.seek(0)
            self._file.write(header)

    def close(self) -> None:
        """Brings the file to the disk."""
        with self._told():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Closes the file, whatever became of it; may be called after `close`."""
        with contextlib.suppress(OSError):
            self._file.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MachineError(f"{self._name}: cannot be written: {error}.") from error
