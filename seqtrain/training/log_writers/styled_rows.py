"""Rows of the log with a bar and colours, for terminals, by the package rich."""

import io
from typing import Any

BAR_WIDTH = 24
_EVENT_STYLES = {"valid": "bold green", "test": "bold magenta", "epoch": "bold cyan"}


class StyledRows:
    """Styles lines, without moving the cursor or taking over the terminal.

    A run that is killed in the middle therefore leaves the terminal as it was.

    Args:
        rich: The modules of rich that are needed.
        encoding: Of the terminal: not all have the characters of a bar.
    """

    def __init__(self, rich: dict[str, Any], encoding: str) -> None:
        self._rich = rich
        is_unicode = encoding.lower().replace("-", "").startswith("utf")
        self._full, self._empty = ("━", "━") if is_unicode else ("#", ".")

    def row(self, event: str, line: str) -> str:
        """Returns a row that stays, with the name of its event set off."""
        text = self._rich["Text"](line)
        text.stylize(_EVENT_STYLES.get(event, "bold"), 0, len(event))
        return self._rendered(text, len(line) + 1)

    def progress(self, line: str, share: float | None, width: int) -> str:
        """Returns a row that will be written over, behind a bar.

        Args:
            line: What it says.
            share: Of the run that is done, 0 to 1; None for no bar.
            width: Characters that there is room for.
        """
        text = self._rich["Text"]()
        if share is not None and width > 2 * BAR_WIDTH:
            full = round(BAR_WIDTH * min(max(share, 0.0), 1.0))
            text.append(self._full * full, style="bold cyan")
            text.append(self._empty * (BAR_WIDTH - full), style="dim")
            text.append(f" {100 * share:3.0f}% ", style="bold")
        text.append(line)
        text.truncate(width)
        return self._rendered(text, width)

    def _rendered(self, text: Any, width: int) -> str:
        # The text is not parsed: names of metrics may hold brackets.
        stream = io.StringIO()
        console = self._rich["Console"](
            file=stream, force_terminal=True, width=max(width, 1), highlight=False, emoji=False
        )
        console.print(text, end="", no_wrap=True, overflow="ignore", crop=False, markup=False)
        return stream.getvalue()


def styled_rows(encoding: str) -> StyledRows | None:
    """Returns what styles rows, None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        return None
    return StyledRows({"Console": Console, "Text": Text}, encoding)
