"""What people see while a run goes on: a bar, colours, and when it will end."""

import io
import re
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from seqtrain.training.log_writers import console
from seqtrain.training.log_writers.console import ConsoleConfig, ConsoleWriter
from seqtrain.training.log_writers.styled_rows import styled_rows
from seqtrain.training.screens.time_text import clock_after, duration


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment] # a terminal has one

    def isatty(self) -> bool:
        return True


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", text)


def put_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Puts a terminal in the place of standard output."""
    found = Screen()
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "81")
    return found


def test_rows_tell_how_long_the_rest_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    writer = ConsoleWriter(ConsoleConfig(), tmp_path, None)
    writer.plan(100, 400)
    now += 60.0
    writer.write("train", 200, {"train_loss": 2.0})
    now += 60.0
    writer.write("train", 300, {"train_loss": 1.0})
    writer.write("valid", 300, {"valid_loss": 1.0})
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("at this speed the run ends in 2 min, at ")
    assert rows == [
        "train | update 200 | loss 2 | left 2 min",
        "train | update 300 | loss 1 | left 60 s",
        "valid | update 300 | loss 1",
    ]


def test_without_a_known_end_nothing_is_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = ConsoleWriter(ConsoleConfig(), tmp_path, None)
    writer.plan(0, 0)
    writer.write("train", 5, {"train_loss": 2.0})
    assert capsys.readouterr().out == "train | update 5 | loss 2\n"


def test_on_a_terminal_a_bar_shows_how_much_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    screen = put_screen(monkeypatch)
    writer = ConsoleWriter(ConsoleConfig(), tmp_path, None)
    writer.plan(0, 40)
    writer.write("train", 10, {"train_loss": 2.0, **{f"a{n}": 1.0 for n in range(30)}})
    writer.write("valid", 10, {"valid_loss[b]": 3.0})
    writer.close()
    promise, bar, row = filter(None, re.split("[\r\n]", plain(screen.getvalue())))
    assert promise.startswith("at this speed")
    assert bar.startswith("━" * 24 + "  25% left ")
    assert "train | update 10 | loss 2" in bar
    assert len(bar) == 80
    assert row == "valid | update 10 | loss[b] 3"
    assert "\x1b[1;36m━━━━━━\x1b[0m" in screen.getvalue()
    assert "\x1b[?25l" not in screen.getvalue()  # the cursor is not hidden


def test_a_terminal_of_few_characters_gets_a_plain_bar() -> None:
    pytest.importorskip("rich")
    rows = styled_rows("ascii")
    assert rows is not None
    assert plain(rows.progress("x", 0.5, 80)) == "#" * 12 + "." * 12 + "  50% x"
    assert plain(rows.progress("x", None, 80)) == "x"
    assert plain(rows.progress("long " * 9, 0.5, 20)) == ("long " * 9)[:20]


def test_without_rich_lines_are_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = put_screen(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    writer = ConsoleWriter(ConsoleConfig(), tmp_path, None)
    writer.write("train", 10, {"train_loss": 2.0})
    writer.write("valid", 10, {"valid_loss": 3.0})
    assert screen.getvalue() == (
        "\r\x1b[Ktrain | update 10 | loss 2\r\x1b[Kvalid | update 10 | loss 3\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (45.2, "45 s"), (89.4, "89 s"), (120, "2 min"), (5_000, "83 min"),
     (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)  # fmt: skip
def test_times_are_in_units_that_people_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_another_day_is_named() -> None:
    now = datetime(2026, 1, 31, 23, 50).astimezone()
    assert clock_after(300, now) == "23:55"
    assert clock_after(3600, now) == "2026-02-01 00:50"


def test_the_clock_of_now_is_used_where_none_is_given() -> None:
    assert re.fullmatch(r"\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d", clock_after(time.time() % 60))
