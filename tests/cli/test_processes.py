"""What needs a process of its own: help without torch, speed, completion, broken pipes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("train", "preprocess", "generate", "evaluate", "info", "new_plugin")


def run_python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SEQTRAIN_", "COMP_"))}
    return subprocess.run(
        [sys.executable, *words],
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def best_cpu_seconds(limit: float, *words: str, **environment: str) -> float:
    """Returns the best CPU time of at most three; a busy machine hardly changes it."""
    seconds = []
    for _ in range(3):
        begin = os.times()
        run_python(*words, **environment)
        end = os.times()
        children = (end.children_user, end.children_system)
        seconds.append(sum(children) - begin.children_user - begin.children_system)
        if seconds[-1] < limit:
            break
    return min(seconds)


def test_help_comes_without_torch_and_hydra() -> None:
    script = """
import importlib, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    assert importlib.import_module(f"seqtrain_cli.{name}").main() == 0
    heavy = {"torch", "hydra", "omegaconf", "numpy"} & set(sys.modules)
    assert not heavy, (name, heavy)
"""
    done = run_python("-c", script, *COMMANDS)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"seqtrain-{name.replace('_', '-')}: " in done.stdout


def test_help_answers_within_a_second() -> None:
    assert best_cpu_seconds(1.0, "-m", "seqtrain_cli.train", "--help") < 1.0


@pytest.mark.parametrize("words", [("--cfg", "job"), ("model.dmi=3",)])
def test_composing_and_its_mistakes_answer_within_three_seconds(words: tuple[str, ...]) -> None:
    assert best_cpu_seconds(3.0, "-m", "seqtrain_cli.train", *words) < 3.0


def test_completion_answers_within_three_seconds() -> None:
    words = ("-m", "seqtrain_cli.train", "-sc", "query=bash")
    line = {"COMP_LINE": "seqtrain-train optimizer=ad"}
    assert {"optimizer=adam", "optimizer=adamw"} <= {*run_python(*words, **line).stdout.split()}
    assert best_cpu_seconds(3.0, *words, **line) < 3.0


def test_version_is_that_of_the_package() -> None:
    done = run_python("-m", "seqtrain_cli.train", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("seqtrain-train ")


def test_an_unread_output_ends_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "seqtrain_cli.info", "optimizer"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_bash_completes_a_key_after_the_line_of_the_guide() -> None:
    commands = Path(sys.executable).parent
    if not (commands / "seqtrain-train").exists():
        pytest.skip("the console scripts are not installed beside this interpreter")
    script = """
        eval "$(seqtrain-train -sc install=bash)"
        COMP_LINE="seqtrain-train optimizer.l" COMP_POINT=26 COMP_CWORD=1
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.stdout.split() == ["optimizer.lr="]
