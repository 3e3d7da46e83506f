"""metrics.jsonl in the run's folder: one JSON object a line."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.errors import CheckpointError, MachineError
from seqtrain.finite_json import finite_json
from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer

FILE_NAME = "metrics.jsonl"


@dataclass(kw_only=True)
class JsonlConfig(LogWriterConfig):
    """All rows in RUN/metrics.jsonl, for scripts and plots; a resumed run continues the file."""


@register_log_writer("jsonl", config=JsonlConfig)
class JsonlWriter(LogWriter):
    """Writes {"event", "num_updates", values ...} a line; what is not finite is null.

    Each row is in the file when `write` returns, whole or not at all. A resumed run cuts off the
    rows that were written after its checkpoint; a fresh start empties the file.
    """

    def __init__(self, config: JsonlConfig, run_dir: Path, state: Mapping[str, Any] | None) -> None:
        super().__init__(config, run_dir, state)
        path = run_dir / FILE_NAME
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

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        row = {"event": event, "num_updates": num_updates} | dict(values)
        line = finite_json(row).encode("ascii") + b"\n"
        try:
            rest = line
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._offset)
            raise
        self._offset += len(line)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"offset": self._offset}

    @override
    def close(self) -> None:
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
