"""The log for people, on standard output."""

import math
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer
from seqtrain.training.log_writers.row import shortened

_CLEAR_LINE = "\r\x1b[K"


@dataclass(kw_only=True)
class ConsoleConfig(LogWriterConfig):
    """One line for each row; on a terminal, training rows share a line that is written over."""


@register_log_writer("console", config=ConsoleConfig)
class ConsoleWriter(LogWriter):
    """Prints rows and messages."""

    def __init__(
        self, config: ConsoleConfig, run_dir: Path, state: Mapping[str, Any] | None
    ) -> None:
        super().__init__(config, run_dir, state)
        self._is_terminal = _is_terminal()
        self._passing_line = False  # whether the cursor stands after a line to be written over

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        line = format_row(event, num_updates, values)
        if event == "train" and self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._put(_CLEAR_LINE + line[:width])
            self._passing_line = True
        else:
            self.message(line)

    @override
    def message(self, line: str) -> None:
        self._put((_CLEAR_LINE if self._passing_line else "") + line + "\n")
        self._passing_line = False

    @override
    def close(self) -> None:
        if self._passing_line:
            self._put("\n")
        self._passing_line = False

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


def format_row(event: str, num_updates: int, values: Mapping[str, float | int | str]) -> str:
    """Returns a row as one line: "valid | update 1200 | loss 4.213 | ppl 67.55"."""
    parts = [event, f"update {num_updates}"]
    parts += [
        f"{name} {format_value(value)}"
        for name, value in shortened(event, values).items()
        if name != "num_updates"
    ]
    return " | ".join(parts)


def format_value(value: float | int | str) -> str:
    """Returns four significant digits, or the whole part where that has more."""
    if not isinstance(value, float):
        return str(value)
    if math.isfinite(value) and abs(value) >= 999.95:
        return f"{value:.0f}"
    return f"{value:.4g}"


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
