"""Reads files without following links, and compares what was read with the manifest."""

import os
import stat
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

from seqtrain.checkpoint.manifest import FileEntry
from seqtrain.errors import CheckpointError

_BLOCK = 4 * 2**20


class VerifiedFile:
    """A file of a checkpoint, read once from its start to its end, hashed on the way.

    What was read can be relied on only after `finish`. A context manager.
    """

    def __init__(self, path: Path, entry: FileEntry) -> None:
        self._path = path
        self._entry = entry
        self._crc32 = 0
        self._position = 0
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Opens the file."""
        self._descriptor = _open_regular(self._path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def read(self, size: int) -> bytes:
        """Returns exactly `size` bytes."""
        data = bytearray(size)
        self.read_into(memoryview(data))
        return bytes(data)

    def read_into(self, view: memoryview) -> None:
        """Fills the view."""
        while view.nbytes:
            try:
                count = os.readv(self._descriptor, [view[:_BLOCK]])
            except OSError as error:
                raise CheckpointError(f"{self._path}: {error.strerror}.") from error
            if count == 0:
                raise CheckpointError(f"{self._path}: ends at byte {self._position}.")
            self._crc32 = zlib.crc32(view[:count], self._crc32)
            self._position += count
            view = view[count:]

    def skip(self, size: int) -> None:
        """Passes over `size` bytes, which are hashed all the same."""
        buffer = memoryview(bytearray(min(size, _BLOCK)))
        while size:
            block = buffer[: min(size, _BLOCK)]
            self.read_into(block)
            size -= block.nbytes

    def finish(self) -> None:
        """Checks that the file ends here and was as it was written."""
        if self._position != self._entry.size or os.read(self._descriptor, 1):
            raise CheckpointError(f"{self._path}: not {self._entry.size} bytes, as were written.")
        if self._crc32 != self._entry.crc32:
            raise CheckpointError(f"{self._path}: damaged: its checksum is another.")


def read_regular(path: Path, size: int) -> bytes:
    """Returns a file of about `size` bytes; one byte more of it, if it is longer."""
    descriptor = _open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(size + 1)


def _open_regular(path: Path) -> int:
    """Opens a file for reading; neither follows a link nor waits for a pipe."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{path}: not a file.")
    return descriptor
