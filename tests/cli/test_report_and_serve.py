"""seqtrain-report and seqtrain-serve, and the commands that a finished run proposes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import write_run
from toy_command import overrides
from toy_run import toy_config, write_toy_text

from seqtrain_cli import evaluate, export, generate, report, serve, train
from seqtrain_cli.entry import run_command
from seqtrain_cli.info import main as info


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")


def run_report(*words: str) -> int:
    return run_command(report.COMMAND, list(words))


def test_report_writes_a_page_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "a")
    assert run_report("runs=a") == 0
    assert capsys.readouterr().out == "report.html\n"
    assert "Training report" in (tmp_path / "report.html").read_text()
    write_run(tmp_path / "b")
    assert run_report("runs=[a,b]", "output=new/both.html") == 0
    assert "Options that differ" in (tmp_path / "new/both.html").read_text()


def test_report_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a")
    for code, text, words in (
        (2, "runs is empty", []),
        (3, "none is no folder", ["runs=none"]),
        (2, "must end with .html", ["runs=a", "output=a.txt"]),
    ):
        assert run_report(*words) == code
        assert text in capsys.readouterr().err


def test_serve_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    for code, text, words in (
        (2, "checkpoint is not set", []),
        (4, "none does not exist", ["checkpoint=none"]),
    ):
        assert run_command(serve.COMMAND, words) == code
        assert text in capsys.readouterr().err


def small_run(run_dir: Path) -> list[str]:
    """Returns the words that train a run with two updates."""
    text = write_toy_text(run_dir.parent / "text", num_train=12, num_valid=2)
    limits = {"max_update": 2, "max_epoch": 0}
    writers = {"jsonl": {}, "console": {}, "samples": {}}
    config = toy_config(text, run_dir, optimization=limits, log_writer=writers)
    return overrides({key: value for key, value in config.items() if key != "run_dir"})


def test_a_run_begins_with_a_screen_and_ends_with_commands_that_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*small_run(tmp_path / "my run"), "run_dir='my run'"]
    assert run_command(train.COMMAND, words) == 0
    out = capsys.readouterr().out
    labels = [line[:11].strip() for line in out.splitlines()]
    shown = [label for label in labels[: labels.index("run folder") + 1] if label]
    assert shown == ["device", "data", "batches", "model", "optimizer", "training", "run folder"]
    for told in ("cpu, fp32, ", "12 pairs", "0.00% unknown", "(encoder 696", "2 updates"):
        assert told in out
    proposed = [shlex.split(line) for line in out.partition("go on with:\n")[2].splitlines()[:6]]
    known: dict[str, Callable[[list[str]], int]] = {
        f"seqtrain-{command.COMMAND.name}": lambda words, c=command.COMMAND: run_command(c, words)
        for command in (evaluate, export, generate, report)
    } | {"seqtrain-info": info}
    for program, *words in proposed:
        if program != "seqtrain-serve":
            assert known.pop(program)(words) == 0, words
    assert known == {}
    assert (tmp_path / "my run-exported").is_dir()
    assert "Outputs over training" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_a_served_model_answers_until_ctrl_c(tmp_path: Path) -> None:
    assert run_command(train.COMMAND, [*small_run(tmp_path / "run"), "run_dir=run"]) == 0
    command = [sys.executable, "-m", "seqtrain_cli.serve", "checkpoint=run", "port=0", "device=cpu"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "is at http://127.0.0.1:" in line
        url = line.split(" is at ")[1].split(" ")[0]
        request = urllib.request.Request(
            f"{url}api/answer",
            data=json.dumps({"inputs": ["a b", "c"]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert len(json.load(response)["outputs"]) == 2
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
