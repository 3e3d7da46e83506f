"""The plug-in kit: what it writes works as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_run import write_toy_text

from seqtrain_cli.new_plugin import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = ["task.source=x", "task.target=y", "task.tokenizer=word", "task.train=train"]
FEW = ["task.valid=valid", "optimization.max_update=3", "device=cpu", "log_writer=jsonl"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=cwd, env=os.environ, capture_output=True, text=True, check=False
    )


def test_a_new_package_passes_its_own_tests_and_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["name=my_lab", "out=work/mine"]) == 0
    assert "seqtrain-train plugins=my_lab experiment=my_lab" in capsys.readouterr().out
    package = tmp_path / "work/mine"
    tested = run("pytest", "-q", "-W", "error", "-p", "no:cacheprovider", cwd=package)
    assert tested.returncode == 0, tested.stdout
    assert "6 passed" in tested.stdout

    write_toy_text(package)
    words = ["plugins=my_lab", "experiment=my_lab", "model=my_lab_small", *TEXT, *FEW]
    trained = run("seqtrain_cli.train", *words, "run_dir=run", cwd=package)
    assert trained.returncode == 0, trained.stderr
    config = json.loads((package / "run/config.json").read_text())
    assert (config["model"]["name"], config["model"]["dim"]) == ("my_lab", 32)
    assert config["criterion"] == {"name": "my_lab_focal", "gamma": 1.0}
    assert (package / "run/checkpoints/step-0000000003/manifest.json").is_file()


def test_the_package_has_nothing_that_a_linter_finds(tmp_path: Path) -> None:
    assert main(["name=my_lab"]) == 0
    options = ["--isolated", "--line-length", "100", "."]
    rules = ["--select", "E,F,W,I,N,UP,B,C4,SIM,RET,PT,PTH,RUF"]
    for words in (["check", *rules, *options], ["format", "--check", *options]):
        done = run("ruff", *words, cwd=tmp_path / "my_lab")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "name is not set. Write seqtrain-new-plugin name=my_model."),
        (["name=My-Model"], "For example name=my_model."),
        (["name=3d"], "For example name=d."),
        (["name=class"], "'class' is not the name of a Python package in small letters"),
        (["name=json"], "name=json is taken: Python has a module of that name"),
        (["name=torch"], "name=torch is taken"),
        (["name=lstm"], "name=lstm is taken: model=lstm is in "),
        (["nmae=mine"], "There is no key 'nmae'. Known here: name, out, debug."),
        (["mine"], "Write name=mine."),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_line(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["name=mine"]) == 2
    assert "mine exists. Name another folder: out=FOLDER." in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []
