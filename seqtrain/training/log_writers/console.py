"""The log for people, on standard output."""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer
from seqtrain.training.log_writers.row import format_row
from seqtrain.training.log_writers.styled_rows import StyledRows, styled_rows
from seqtrain.training.screens.time_text import clock_after, duration

_CLEAR_LINE = "\r\x1b[K"


@dataclass(kw_only=True)
class ConsoleConfig(LogWriterConfig):
    """One line for each row; on a terminal, training rows share a line that is written over."""

    rich: bool = True
    """On a terminal, show a bar and colours where the package rich is installed."""


@register_log_writer("console", config=ConsoleConfig)
class ConsoleWriter(LogWriter):
    """Prints rows and messages, and when the run will end."""

    def __init__(
        self, config: ConsoleConfig, run_dir: Path, state: Mapping[str, Any] | None
    ) -> None:
        super().__init__(config, run_dir, state)
        self._is_terminal = _is_terminal()
        self._passing_line = False  # whether the cursor stands after a line to be written over
        self._styled: StyledRows | None = None
        if self._is_terminal and config.rich:
            self._styled = styled_rows(sys.stdout.encoding or "utf-8")
        self._num_done, self._num_planned = 0, 0
        self._started = time.monotonic()
        self._end_is_told = False

    @override
    def plan(self, num_done: int, num_planned: int) -> None:
        self._num_done, self._num_planned = num_done, num_planned
        self._started = time.monotonic()

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        if event != "train":
            plain = format_row(event, num_updates, values)
            self.message(self._styled.row(event, plain) if self._styled else plain)
            return
        seconds = self._seconds_left(num_updates)
        if seconds is not None and not self._end_is_told:
            self._end_is_told = True
            when = clock_after(seconds)
            self.message(f"at this speed the run ends in {duration(seconds)}, at {when}")
        line = format_row(event, num_updates, values)
        left = "" if seconds is None else f"left {duration(seconds)}"
        if not self._is_terminal:
            self.message(" | ".join(part for part in (line, left) if part))
            return
        line = " | ".join(part for part in (left, line) if part)  # narrow terminals cut the end
        width = shutil.get_terminal_size().columns - 1
        if self._styled:
            share = num_updates / self._num_planned if self._num_planned else None
            self._put(_CLEAR_LINE + self._styled.progress(line, share, width))
        else:
            self._put(_CLEAR_LINE + line[:width])
        self._passing_line = True

    @override
    def message(self, line: str) -> None:
        self._put((_CLEAR_LINE if self._passing_line else "") + line + "\n")
        self._passing_line = False

    @override
    def close(self) -> None:
        if self._passing_line:
            self._put("\n")
        self._passing_line = False

    def _seconds_left(self, num_updates: int) -> float | None:
        """Returns how long the rest takes at the speed so far, validation and saving included."""
        done = num_updates - self._num_done
        if not self._num_planned or done <= 0:
            return None
        spent = time.monotonic() - self._started
        return spent / done * max(self._num_planned - num_updates, 0)

    def _put(self, text: str) -> None:
        stream = sys.stdout
        if stream is None or stream.closed:
            raise OSError("standard output is closed")
        encoding = stream.encoding or "utf-8"
        try:
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except OSError:
            _discard_standard_output()
            raise


def _is_terminal() -> bool:
    # A stream that is closed raises ValueError; None stands for no stream at all.
    with suppress(ValueError, AttributeError):
        return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
    return False


def _discard_standard_output() -> None:
    """Points standard output nowhere: Python flushes it at exit, and would fail once more."""
    with suppress(OSError, ValueError):
        output = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output)
        os.close(nowhere)
