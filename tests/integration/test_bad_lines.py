"""Bad lines to generate, interactive and Pipeline: an answer or a reason for each, in order."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from labelled_toy import write_jsonl
from toy_run import toy_config, write_toy_text

from seqtrain.errors import DataError
from seqtrain.pipeline import Pipeline, load, train
from seqtrain_cli import generate

GOOD = [b"a b c", b"f e", b"d"]
LINES = [
    b"a b c",
    b"",
    b"a b " * 5000,
    b"f e",
    b"%%% \xe2\x98\x83 unknown",
    b"\xff\xfe\x80 broken",
    b"\0 a \0",
    b"\xed\xa0\x80",
    b"   \t ",
    b"d",
]
NOT_UTF8 = (5, 7)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad_lines")
    text = write_toy_text(folder / "text")
    config = toy_config(text, folder / "run", optimization={"max_update": 3})
    config["model"]["max_positions"] = 64
    train(config)
    return folder / "run"


@pytest.fixture(scope="module")
def pipeline(run_dir: Path) -> Pipeline:
    return load(run_dir, "cpu")


def rows_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.split("\n")[:-1]]


def texts(row: dict[str, Any]) -> list[str]:
    return [hypothesis["text"] for hypothesis in row["hypotheses"]]


def require_good(rows: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]) -> None:
    """The lines that are good say what they say alone, in their places."""
    assert [row["id"] for row in rows] == list(range(len(LINES)))
    places = [LINES.index(line) for line in GOOD]
    for place, expected in zip(places, alone, strict=True):
        assert texts(rows[place]) == texts(expected)
    failed = [row["id"] for row in rows if "error" in row]
    assert failed == [2, *NOT_UTF8]
    assert "max_positions" in rows[2]["error"]
    assert all("not UTF-8" in rows[index]["error"] for index in NOT_UTF8)


@pytest.mark.parametrize("sampling", [False, True])
def test_generate_answers_each_line_or_says_why_not(
    run: Any, run_dir: Path, tmp_path: Path, sampling: bool
) -> None:
    found = []
    for name, lines in (("bad", LINES), ("good", GOOD)):
        (tmp_path / name).write_bytes(b"\n".join(lines))
        words = [f"checkpoint={run_dir}", f"input={tmp_path / name}", "device=cpu"]
        outcome = run(generate.COMMAND, *words, f"generation.sampling={sampling}")
        assert outcome.exit_code == 0
        found.append(rows_of(outcome.out))
    if sampling:  # what is drawn depends on the number of the line, and on no other line
        (tmp_path / "empty").write_bytes(b"\n".join(x if x in GOOD else b"" for x in LINES))
        words = [f"checkpoint={run_dir}", f"input={tmp_path / 'empty'}", "device=cpu"]
        rows = rows_of(run(generate.COMMAND, *words, "generation.sampling=true").out)
        found[1] = [rows[LINES.index(line)] for line in GOOD]
    require_good(found[0], found[1])


def test_the_pipeline_answers_each_line_or_says_why_not(pipeline: Pipeline) -> None:
    lines = [line.decode("utf-8", "surrogateescape") for line in LINES]
    answers = list(pipeline.answers(lines))
    assert [index for index, answer in enumerate(answers) if answer.error] == [2, *NOT_UTF8]
    good = [line.decode() for line in GOOD]
    best = [pipeline.text_of(answers[LINES.index(line)].hypotheses[0]).text for line in GOOD]
    assert best == pipeline.translate(good)
    small = replace(pipeline, at_once=2)
    assert [answer.error for answer in small.answers(lines)] == [a.error for a in answers]


def test_translate_names_the_line_that_it_cannot_use(pipeline: Pipeline) -> None:
    with pytest.raises(DataError, match=r"^line 2: .*max_positions"):
        pipeline.translate(["a", "a " * 10_000])
    with pytest.raises(DataError, match=r"^line 1: the line is not text \(character 3"):
        pipeline.translate(["a \udcff"])


def test_rows_that_cannot_be_predicted_have_an_error_and_harm_no_other(
    run: Any, tmp_path: Path
) -> None:
    rows = [{"tokens": list("abca"[: 2 + i % 3]), "label": "xyz"[i % 3]} for i in range(9)]
    for split in ("train", "valid", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", rows)
    config = toy_config(tmp_path, tmp_path / "run", optimization={"max_update": 2})
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "valid", "test")}
    config["task"] = {"name": "recognition"} | files
    config["model"] = {"name": "conv_classifier", "dim": 8}
    config["criterion"] = {"name": "cross_entropy"}
    config["dataset"] = {"batch_size": 4}
    train(config)
    good = b'{"tokens": ["a", "b"]}'
    lines = [good, b"", b"{", b"[" * 5000, b'{"other": 1}', b"\xff", b"7", b'{"tokens": 3}', good]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    words = [f"checkpoint={tmp_path / 'run'}", f"input={tmp_path / 'in.jsonl'}", "device=cpu"]
    outcome = run(generate.COMMAND, *words)
    assert outcome.exit_code == 0
    found = rows_of(outcome.out)
    assert [row["id"] for row in found] == list(range(len(lines)))
    assert ["error" in row for row in found] == [line != good for line in lines]
    assert found[0]["label"] == found[-1]["label"]
    assert outcome.error.count("has no output") == len(lines) - 2


@pytest.mark.slow
@pytest.mark.parametrize("command", ["generate", "interactive"])
def test_the_commands_themselves_take_binary_garbage(run_dir: Path, command: str) -> None:
    garbage = [bytes((7 * i + j * j) % 256 for j in range(300)) for i in range(20)]
    lines = [line.replace(b"\n", b"?").replace(b"\r", b"!") for line in garbage]
    given = b"\n".join([*LINES, *lines, *GOOD]) + b"\n"
    words = ["input=-"] if command == "generate" else ["format=jsonl"]
    done = subprocess.run(
        [sys.executable, "-m", f"seqtrain_cli.{command}", f"checkpoint={run_dir}", *words],
        input=given,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SEQTRAIN_DISABLE_PLUGINS": "1"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout.decode())
    assert [row["id"] for row in rows] == list(range(len(LINES) + len(lines) + len(GOOD)))
    require_good(rows[: len(LINES)], rows[-len(GOOD) :])
    assert b"Traceback" not in done.stderr
