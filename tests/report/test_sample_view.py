import re
from pathlib import Path
from typing import Any

from seqtrain.report.run_log import RunLog
from seqtrain.report.sample_view import sample_section


def run_with(name: str, *rows: tuple[int, str], **given: Any) -> RunLog:
    example = {"split": "valid", "id": 3, "source": "a b", "reference": "b a"} | given
    samples = [{"num_updates": updates, "output": said} | example for updates, said in rows]
    return RunLog(name, Path(name), samples=samples)


def text_of(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", markup).split())


def test_what_is_said_again_takes_one_line() -> None:
    run = run_with("a", (10, "x"), (20, "x"), (30, "x"), (40, "y"), (50, "x"))
    assert text_of(sample_section([run])).endswith("update output 10 to 30 x 40 y 50 x")


def test_of_an_update_that_was_logged_twice_the_last_counts() -> None:
    run = run_with("a", (10, "x"), (20, "y"), (20, "z"))
    assert text_of(sample_section([run])).endswith("10 x 20 z")


def test_several_runs_share_an_example() -> None:
    runs = [
        run_with("a", (10, "x")),
        run_with("b", (10, "y")),
        run_with("c", (10, "z"), source="c"),
    ]
    first, second = text_of(sample_section(runs)).split("valid example 3 ")[1:]
    assert first == "source a b reference b a a update output 10 x b update output 10 y "
    assert second == "source c reference b a c update output 10 z"
