"""People see how far an evaluation or a search is, and nothing else changes."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from toy_run import toy_config, write_toy_text

from seqtrain.data.text import progress
from seqtrain.pipeline import load, train
from seqtrain.training.pass_progress import PassProgress

Screen = Callable[[bool], io.StringIO]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Makes standard error a terminal or a file that is written to at once."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setenv("COLUMNS", "100")

    def make(is_terminal: bool) -> io.StringIO:
        shown = io.StringIO()
        monkeypatch.setattr(shown, "isatty", lambda: is_terminal)
        monkeypatch.setattr(sys, "stderr", shown)
        return shown

    return make


def test_a_pass_is_a_moving_line_on_a_terminal_that_goes_away(screen: Screen) -> None:
    shown, passes = screen(True), PassProgress(is_shown=True)
    with passes.over("answering test", 8):
        passes.advance(2)
    assert "answering test: 2 of 8 examples" in shown.getvalue()
    assert shown.getvalue().endswith("\r\x1b[K")
    assert "\n" not in shown.getvalue()


def test_a_pass_is_plain_lines_elsewhere(screen: Screen) -> None:
    shown, passes = screen(False), PassProgress(is_shown=True, num_processes=2)
    with passes.over("answering test", 7):
        for _ in range(4):  # of another process there are three
            passes.advance()
    lines = shown.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"answering test: {done} of 7 examples" for done in (2, 4, 6, 7)
    ]


def test_a_pass_within_a_pass_counts_in_the_outer_one(screen: Screen) -> None:
    shown, passes = screen(False), PassProgress(is_shown=True)
    with passes.over("answering -", 0):
        for _ in range(2):
            with passes.over("answering part", 3):
                passes.advance(3)
        passes.message("line 2 has no output")
    assert [line.split("s,")[0] for line in shown.getvalue().splitlines()] == [
        "answering -: 3 example",
        "answering -: 6 example",
        "line 2 has no output",
    ]


def test_what_cannot_be_shown_ends_no_pass(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    passes, shown = PassProgress(is_shown=True), screen(True)
    with passes.over("measuring", 3):
        shown.close()
        passes.advance()
        passes.advance()
    monkeypatch.setattr(sys, "stderr", None)
    with passes.over("measuring", 3):
        passes.advance()
    PassProgress().advance()


def test_an_evaluation_tells_how_far_loss_and_search_are(tmp_path: Path, screen: Screen) -> None:
    text = write_toy_text(tmp_path / "text", num_train=12)
    train(toy_config(text, tmp_path / "run", optimization={"max_update": 1, "max_epoch": 0}))
    silent = load(tmp_path / "run", "cpu")
    generation = silent.config.generation
    expected = silent.evaluate("test", generation, generate=True)
    shown = screen(False)
    telling = replace(silent, progress=PassProgress(is_shown=True))
    assert telling.evaluate("test", generation, generate=True) == expected
    lines = [line.split(",")[0] for line in shown.getvalue().splitlines()]
    assert lines[-1] == "answering test: 9 of 9 examples"
    assert "measuring on test: 9 of 9 examples" in lines


def test_a_run_with_the_console_tells_how_far_its_test_is(tmp_path: Path, screen: Screen) -> None:
    text = write_toy_text(tmp_path / "text", num_train=12)
    shown = screen(False)
    for writer in ("jsonl", "console"):
        config = toy_config(text, tmp_path / writer, log_writer={writer: {}})
        config["optimization"] = {"max_update": 1}
        assert shown.getvalue() == ""
        config["validation"]["test_generate"] = True
        train(config)
    assert "answering test: 9 of 9 examples" in shown.getvalue()
