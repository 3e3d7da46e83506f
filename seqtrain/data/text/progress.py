"""How far something is: one line that moves on a terminal, a line now and then elsewhere."""

import sys
import time

SECONDS_BETWEEN = 0.5
SECONDS_BETWEEN_LINES = 60.0
BAR_CHARACTERS = 24


class Progress:
    """Shows on standard error how many items were done.

    Args:
        what: Beginning of the line.
        total: How many there are.
        unit: What an item is, in the plural.
        done: How many were done before.
    """

    def __init__(self, what: str, total: int, unit: str, done: int = 0) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._first = self._done = done
        self._began = self._shown = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._has_line = False

    def advance(self, count: int) -> None:
        """Adds items."""
        self._done += count
        now = time.monotonic()
        if now - self._shown < (SECONDS_BETWEEN if self._is_terminal else SECONDS_BETWEEN_LINES):
            return
        self._shown = now
        if self._is_terminal:
            self._has_line = True
            sys.stderr.write(f"\r\x1b[K{self._moving_line(now)}")
        else:
            sys.stderr.write(f"{self._line(now)}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Takes the moving line away."""
        if self._has_line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _moving_line(self, now: float) -> str:
        """Returns what a terminal shows, which the next line writes over."""
        return f"{self._bar()} {self._line(now)}"

    def _line(self, now: float) -> str:
        rate = (self._done - self._first) / max(now - self._began, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        return (
            f"{self._what}: {self._done:,} of {self._total:,} {self._unit}, {rate:,.0f}/s, "
            f"{left:.0f} s left"
        )

    def _bar(self) -> str:
        filled = BAR_CHARACTERS * self._done // max(self._total, 1)
        return f"[{'#' * filled}{' ' * (BAR_CHARACTERS - filled)}]"
