"""A file in a run's folder with one JSON object a line, which resumed runs continue."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqtrain.errors import CheckpointError, MachineError
from seqtrain.finite_json import finite_json


class RowFile:
    """Appends rows; each is in the file when `write` returns, whole or not at all.

    A resumed run cuts off the rows that were written after its checkpoint; a fresh start empties
    the file.

    Args:
        path: The file.
        state: What `state_dict` saved in the checkpoint that is resumed; None at a fresh start.
    """

    def __init__(self, path: Path, state: Mapping[str, Any] | None) -> None:
        try:
            # A link in the run's folder could point to a file of somebody else.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o666)
        except OSError as error:
            raise MachineError(f"Cannot write {path}: {error.strerror}.") from error
        size = os.fstat(self._file).st_size
        start = 0 if state is None else min(size, _saved_offset(state, size, path))
        self._offset = _end_of_last_line(self._file, start)
        if self._offset < size:
            os.ftruncate(self._file, self._offset)

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row; what is not finite is null."""
        line = finite_json(dict(row)).encode("ascii") + b"\n"
        try:
            rest = line
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._offset)
            raise
        self._offset += len(line)

    def state_dict(self) -> dict[str, Any]:
        """Returns where the file ends."""
        return {"offset": self._offset}

    def close(self) -> None:
        """Closes the file; it may be closed already."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def _saved_offset(state: Mapping[str, Any], size: int, path: Path) -> int:
    offset = state.get("offset", size)  # a writer that was added for the resumed run has no state
    if not isinstance(offset, int) or offset < 0:
        raise CheckpointError(f"The checkpoint's offset in {path} is not a number: {offset!r}.")
    return offset


def _end_of_last_line(file: int, offset: int) -> int:
    """Returns the offset after the last newline before `offset`: a crash may tear a line."""
    block = 65_536
    end = offset
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
