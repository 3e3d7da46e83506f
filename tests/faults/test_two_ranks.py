"""Whole runs of two ranks of which one is killed, stopped, or computes something else."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kill_plugin
import pytest
import torch
from toy_command import overrides
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference
from seqtrain_cli import train
from seqtrain_cli.entry import run_command

torch.set_num_threads(1)
PLUGIN = Path(kill_plugin.__file__)


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    load_plugins([])
    return write_toy_text(tmp_path / "text")


def start_ranks(words: list[str], folder: Path) -> list[int]:
    """Runs the command in two forks, as torchrun would; returns their process ids."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for name, number in (("out", 1), ("err", 2)):
                    file = os.open(folder / f"{name}.{rank}", os.O_CREAT | os.O_WRONLY, 0o644)
                    os.dup2(file, number)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                sys.__stderr__ = sys.stderr  # where the watchdog puts the stacks
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                               "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                               "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
                status = run_command(train.COMMAND, words)
                sys.stderr.flush()
            finally:
                os._exit(status)
        children.append(child)
    return children


def wait(child: int, seconds: float) -> int:
    """Returns the exit code, negative for a signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"process {child} did not end within {seconds} s")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_stopped_rank_is_named_by_the_other_which_ends_with_exit_code_6(
    text: Path, tmp_path: Path, strategy: str
) -> None:
    stop = {"places": ["loss-4-1"], "done": str(tmp_path), "number": int(signal.SIGSTOP)}
    config = toy_config(
        text,
        tmp_path / "run",
        callback={"test_kill_at": stop},
        distributed={"timeout_seconds": 6, "strategy": strategy},
    )
    first, stopped = start_ranks(overrides(config), tmp_path)
    try:
        assert wait(first, 90) == 6
    finally:
        os.kill(stopped, signal.SIGKILL)
        os.waitpid(stopped, 0)
    said = (tmp_path / "err.0").read_text()
    assert re.search(r"rank 0 has made no progress for \d+ s in update 5", said), said
    assert "rank 1 (last seen in update" in said
    assert "gives no sign of life: stopped" in said
    assert "Stacks of rank 0:" in said
    assert "train_step" in said


def test_one_changed_bit_of_a_weight_on_one_rank_ends_the_run_with_its_name(
    text: Path, tmp_path: Path
) -> None:
    config = toy_config(
        text,
        tmp_path / "run",
        callback={"test_flip": {"rank": 1, "after_update": 3}},
        distributed={"check_interval_updates": 4},
    )
    codes = [wait(child, 90) for child in start_ranks(overrides(config), tmp_path)]
    assert codes == [6, 6]
    for rank in range(2):
        said = (tmp_path / f"err.{rank}").read_text()
        assert "After update 4 the parameter model.encoder.embed_tokens.weight" in said, said
        assert "is not the same on all ranks: rank 1 has other bits" in said
        assert "Traceback" not in said


def test_the_other_rank_of_a_killed_one_ends_and_the_same_command_goes_on(
    text: Path, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {"checkpoint": {"save_interval_updates": 2}}
    kill = {"places": ["gradients-7-1"], "done": str(tmp_path)}
    killed = toy_config(text, tmp_path / "run", callback={"test_kill_at": kill}, **sections)
    first, other = start_ranks(overrides(killed), tmp_path)
    assert wait(other, 90) == -signal.SIGKILL
    assert wait(first, 90) == 6
    said = (tmp_path / "err.0").read_text()
    assert said.startswith("seqtrain-train: error: ")
    assert said.count("\n") == 1, said
    straight = toy_config(text, tmp_path / "straight", **sections)
    for run in (straight, killed):
        codes = [wait(child, 90) for child in start_ranks(overrides(run), tmp_path)]
        assert codes == [0, 0]
    require_same_end(tmp_path / "straight", tmp_path / "run")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_rank_lost_within_a_pass_of_the_model_is_one_line_and_exit_code_6(
    text: Path, tmp_path: Path, strategy: str
) -> None:
    kill = {"places": ["loss-2-1"], "done": str(tmp_path)}
    distributed = {"strategy": strategy}
    config = toy_config(
        text, tmp_path / "run", callback={"test_kill_at": kill}, distributed=distributed
    )
    first, other = start_ranks(overrides(config), tmp_path)
    assert wait(other, 90) == -signal.SIGKILL
    assert wait(first, 90) == 6
    said = (tmp_path / "err.0").read_text()
    assert said.startswith("seqtrain-train: error: Rank 0 of 2 failed"), said
    assert said.count("\n") == 1, said


def test_what_one_rank_alone_asks_for_is_done_by_all(text: Path, tmp_path: Path) -> None:
    config = toy_config(text, tmp_path / "run", callback={"test_ask": {"after_update": 3}})
    codes = [wait(child, 90) for child in start_ranks(overrides(config), tmp_path)]
    assert codes == [0, 0]
    assert final_state(tmp_path / "run")["trainer"]["num_updates"] == 3


def require_same_end(one: Path, other: Path) -> None:
    assert first_difference(final_state(one), final_state(other), "state") == ""
    assert history(one) == history(other)


def test_two_ranks_train_on_one_example(text: Path, tmp_path: Path) -> None:
    write_toy_text(text, num_train=1, num_valid=1)
    limits = {"max_update": 3, "max_epoch": 3}
    config = toy_config(text, tmp_path / "run", optimization=limits)
    codes = [wait(child, 90) for child in start_ranks(overrides(config), tmp_path)]
    assert codes == [0, 0]
    assert final_state(tmp_path / "run")["trainer"]["num_updates"] == 3


def torchrun(config: dict[str, Any], restarts: int) -> subprocess.CompletedProcess[str]:
    words = [f"plugins=[{PLUGIN}]", *overrides(config)]
    launch = ["--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}",
              "--monitor-interval=0.1", "-m", "seqtrain_cli.train"]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *launch, *words],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def kill_under_torchrun(text: Path, folder: Path, places: list[str]) -> None:
    """Kills one rank of two at each place; torchrun starts both again."""
    sections: dict[str, Any] = {
        "checkpoint": {"save_interval_updates": 2},
        "optimization": {"max_epoch": 3},
        # Processes that do not find one another after a restart are started once more.
        "distributed": {"timeout_seconds": 30},
    }
    kill = {"test_kill_at": {"places": places, "done": str(folder)}}
    killed = torchrun(toy_config(text, folder / "run", callback=kill, **sections), len(places) + 3)
    assert killed.returncode == 0, killed.stderr[-3000:]
    assert {path.name for path in folder.iterdir()} >= set(places)
    straight = overrides(toy_config(text, folder / "straight", **sections))
    assert [wait(child, 90) for child in start_ranks(straight, folder)] == [0, 0]
    require_same_end(folder / "straight", folder / "run")


@pytest.mark.slow
def test_10_kills_of_one_rank_under_torchrun_end_as_if_there_were_none(
    text: Path, tmp_path: Path
) -> None:
    places = ["loss-0-1", "gradients-1-0", "update-3-1", "saved-4-0", "loss-6-0", "update-7-0",
              "gradients-9-1", "saved-12-0", "update-14-1", "loss-17-1"]  # fmt: skip
    kill_under_torchrun(text, tmp_path, places)


@pytest.mark.slow
def test_the_launcher_ends_a_stopped_rank_and_returns_exit_code_6(
    text: Path, tmp_path: Path
) -> None:
    stop = {"places": ["loss-4-1"], "done": str(tmp_path), "number": int(signal.SIGSTOP)}
    config = toy_config(
        text,
        tmp_path / "run",
        callback={"test_kill_at": stop},
        distributed={"timeout_seconds": 8, "num_processes": 2},
    )
    result = subprocess.run(
        [sys.executable, "-m", "seqtrain_cli.train", f"plugins=[{PLUGIN}]", *overrides(config)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 6, result.stderr
    assert "rank 1 (last seen in update" in result.stderr
