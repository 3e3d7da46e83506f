"""Odd surroundings of a run: a read-only disk, a clock that jumps, few files, little memory."""

import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_disk import READ_ONLY, in_fork, mount_small_disk
from toy_command import overrides
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.pipeline import train
from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference
from seqtrain_cli import train as command
from seqtrain_cli.entry import run_command

torch.set_num_threads(1)


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    load_plugins([])
    return write_toy_text(tmp_path / "text")


def short(text: Path, run_dir: Path, **sections: Any) -> dict[str, Any]:
    return toy_config(text, run_dir, optimization={"max_update": 4}, **sections)


def say_into(file: Path) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")


def run_said(config: dict[str, Any], said: Path) -> int:
    """Runs the command in this fork; returns its exit code."""
    say_into(said)
    code = run_command(command.COMMAND, overrides(config))
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def test_a_read_only_disk_is_named_before_anything_is_trained(text: Path, tmp_path: Path) -> None:
    disk, said = tmp_path / "disk", tmp_path / "said"
    disk.mkdir()

    def action() -> int:
        if not mount_small_disk(disk, 2**20, READ_ONLY):
            return 77
        return run_said(short(text, disk / "run"), said)

    code = in_fork(action)
    if code == 77:
        pytest.skip("this user may not mount a file system, not even a private one")
    assert code == 5
    assert f"Cannot write in the directory {disk / 'run'}" in said.read_text()
    assert "Read-only file system" in said.read_text()
    assert said.read_text().count("\n") == 1


def test_a_clock_that_jumps_changes_nothing(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(short(text, tmp_path / "calm"))
    rng = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: rng.uniform(0.0, 4e9))
    train(short(text, tmp_path / "jumping"))
    one, other = tmp_path / "calm", tmp_path / "jumping"
    assert first_difference(final_state(one), final_state(other), "state") == ""
    assert history(one) == history(other)


def test_64_open_files_are_enough_for_a_run_with_workers(text: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def action() -> int:
        for number in range(3, 256):  # as a new process would begin
            try:
                os.close(number)
            except OSError:
                continue
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        return run_said(short(text, tmp_path / "run", dataset={"num_workers": 2}), said)

    assert in_fork(action) == 0, said.read_text()


def test_a_full_shared_memory_names_the_workers_and_the_way_out(text: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def action() -> int:
        if not mount_small_disk(Path("/dev/shm"), 4096):
            return 77
        return run_said(short(text, tmp_path / "run", dataset={"num_workers": 2}), said)

    code = in_fork(action)
    if code == 77:
        pytest.skip("this user may not mount a file system, not even a private one")
    assert code == 5, said.read_text()
    assert said.read_text().count("\n") == 1
    assert "No space left on device" in said.read_text()
    assert "dataset.num_workers" in said.read_text()


@pytest.mark.parametrize("workers", [0, 2])
def test_one_example_is_enough_to_train_on(text: Path, tmp_path: Path, workers: int) -> None:
    write_toy_text(text, num_train=1, num_valid=1)
    config = short(text, tmp_path / "run", dataset={"num_workers": workers})
    config["optimization"]["max_epoch"] = 4
    assert train(config).num_updates == 4


def test_no_example_left_is_refused_with_the_limit(text: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    limits = {"max_source_positions": 1, "max_target_positions": 1}
    code = in_fork(lambda: run_said(short(text, tmp_path / "run", dataset=limits), said))
    assert code in (2, 3), said.read_text()
    assert said.read_text().count("\n") == 1
    assert "max_source_positions" in said.read_text()
