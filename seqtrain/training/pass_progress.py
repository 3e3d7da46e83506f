"""How far a pass over examples is, for people who wait: an evaluation, a search."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from typing_extensions import override

from seqtrain.data.text.progress import Progress
from seqtrain.training.log_writers.styled_rows import StyledRows, styled_rows


class PassProgress:
    """Shows on standard error how many examples of a pass were done.

    On a terminal one line moves, with a bar where rich is installed; elsewhere there is a line a
    minute. A short pass shows nothing. What cannot be shown never ends the pass.

    Args:
        is_shown: Only on one rank, and where people look.
        num_processes: That share each pass; an example counted here stands for so many.
    """

    def __init__(self, is_shown: bool = False, num_processes: int = 1) -> None:
        self._is_shown = is_shown
        self._num_processes = num_processes
        self._line: Progress | None = None

    @contextmanager
    def over(self, what: str, num_examples: int) -> Iterator[None]:
        """Shows a pass while it lasts; a pass within another one counts in that.

        Args:
            what: Beginning of the line.
            num_examples: Of all processes; 0 where that is not known.
        """
        if not self._is_shown or self._line is not None or not _can_be_shown():
            yield
            return
        self._line = _PassLine(what, num_examples)
        try:
            yield
        finally:
            line, self._line = self._line, None
            if line is not None:
                with suppress(OSError, ValueError):
                    line.close()

    def advance(self, num_examples: int = 1) -> None:
        """Counts examples that are done."""
        if self._line is None:
            return
        try:
            self._line.advance(num_examples * self._num_processes)
        except (OSError, ValueError):  # standard error is closed or full
            self._line = None
            self._is_shown = False

    def message(self, text: str) -> None:
        """Writes a line of its own to standard error."""
        if self._line is not None:
            self._line.close()  # it comes back with the next examples
        print(text, file=sys.stderr)  # noqa: T201 # that is what it is for


class _PassLine(Progress):
    """The line, with rich's bar where that is installed."""

    def __init__(self, what: str, total: int) -> None:
        super().__init__(what, total, "examples")
        self._is_terminal = self._is_terminal and os.environ.get("TERM", "") != "dumb"
        self._styled: StyledRows | None = None
        if self._is_terminal:
            self._styled = styled_rows(sys.stderr.encoding or "utf-8")

    @override
    def advance(self, count: int) -> None:
        # Several processes do not do exactly the same share.
        left = self._total - self._done
        super().advance(min(count, left) if self._total else count)

    @override
    def _moving_line(self, now: float) -> str:
        width = shutil.get_terminal_size().columns - 1
        if self._styled is None:
            bar = f"{self._bar()} " if self._total else ""
            return f"{bar}{self._line(now)}"[:width]
        share = self._done / self._total if self._total else None
        return self._styled.progress(self._line(now), share, width)

    @override
    def _line(self, now: float) -> str:
        if self._total:
            return super()._line(now)
        rate = self._done / max(now - self._began, 1e-9)
        return f"{self._what}: {self._done:,} examples, {rate:,.0f}/s"


def _can_be_shown() -> bool:
    return sys.stderr is not None and not sys.stderr.closed
