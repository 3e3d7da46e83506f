"""Hands each row to every log writer, and keeps a full disk from ending the training."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from seqtrain.training.log_writers.base import LogWriter


class LogFanOut:
    """All log writers of a run as one.

    A writer that cannot write (full disk, closed output) is reported once and gets no more rows;
    the others, and training, go on.

    Args:
        writers: By registered name; none on ranks other than the first.
    """

    def __init__(self, writers: Mapping[str, LogWriter]) -> None:
        self._writers = dict(writers)
        self._working = dict(writers)

    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        """Gives all writers a row; see LogWriter.write."""
        self._each(lambda writer: writer.write(event, num_updates, values))

    def samples(self, num_updates: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Gives all writers outputs for some examples; see LogWriter.samples."""
        self._each(lambda writer: writer.samples(num_updates, rows))

    def plan(self, num_done: int, num_planned: int) -> None:
        """Tells all writers what is to come; see LogWriter.plan."""
        self._each(lambda writer: writer.plan(num_done, num_planned))

    def message(self, line: str) -> None:
        """Gives all writers a line for people."""
        self._each(lambda writer: writer.message(line))

    def state_dict(self) -> dict[str, Any]:
        """Returns where each log stands, by the writer's name."""
        return {name: writer.state_dict() for name, writer in self._writers.items()}

    def close(self) -> None:
        """Flushes and closes all writers."""
        self._each(lambda writer: writer.close())
        for name in self._writers.keys() - self._working.keys():
            with suppress(OSError):
                self._writers[name].close()
        self._working = {}

    def _each(self, action: Callable[[LogWriter], None]) -> None:
        for name, writer in list(self._working.items()):
            try:
                action(writer)
            except OSError as error:
                del self._working[name]
                _report(f"log_writer {name} is switched off, training goes on: {error}")


def _report(line: str) -> None:
    # Standard error may be gone or full as well.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
