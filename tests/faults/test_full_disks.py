"""A file system that is full, for a whole run: it ends well, or with exit code 5 and numbers."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_disk import PAGE, in_fork, mount_small_disk
from toy_command import overrides
from toy_run import final_state, toy_config, write_toy_text

from seqtrain.checkpoint.layout import committed, is_leftover
from seqtrain.checkpoint.load import read_newest, verify
from seqtrain.pipeline import train
from seqtrain.training.resume import first_difference
from seqtrain_cli import train as command
from seqtrain_cli.entry import run_command

torch.set_num_threads(1)


def config_of(text: Path, run_dir: Path, last: int) -> dict[str, Any]:
    return toy_config(
        text,
        run_dir,
        checkpoint={"save_interval_updates": 2, "max_failed_saves": 2, "keep_last": 2},
        optimization={"max_update": last},
        validation={"validate_interval_updates": 4},
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if in_fork(lambda: int(not mount_small_disk(tmp_path_factory.mktemp("try"), PAGE))):
        pytest.skip("this user may not mount a file system, not even a private one")
    folder = tmp_path_factory.mktemp("full")
    train(config_of(write_toy_text(folder / "text"), folder / "begun", 4))
    train(config_of(folder / "text", folder / "whole", 8))
    return folder / "text"


def used_bytes(folder: Path) -> int:
    """Returns what a copy of a folder takes up on a file system of pages."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in files)


def continue_on_a_disk_with(free: int, text: Path, folder: Path) -> int:
    """In a fork: copies a run to a disk with so much space left, and continues it there."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    begun = text.parent / "begun"
    assert mount_small_disk(disk, used_bytes(begun) + free)
    run_dir = disk / "run"
    shutil.copytree(begun, run_dir)
    before = committed(run_dir / "checkpoints")
    said = folder / f"said.{free}"
    file = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    code = run_command(command.COMMAND, overrides(config_of(text, run_dir, 8)))
    sys.stderr.flush()
    left = committed(run_dir / "checkpoints")
    for path in left:
        verify(path)
    found = read_newest(run_dir / "checkpoints", pytest.fail)
    assert found is not None
    if code == 0:
        whole = final_state(text.parent / "whole")
        assert first_difference(whole, final_state(run_dir), "state") == ""
    else:
        assert code == 5, code
        last_line = said.read_text().splitlines()[-1]
        assert re.search(r"\d+ bytes needed, \d+ free|at byte \d+ of \d+|No space left", last_line)
        assert str(run_dir) in last_line
        assert found.manifest.num_updates >= 4
        assert before[0] in left
    assert not [path for path in (run_dir / "checkpoints").iterdir() if is_leftover(path.name)]
    return code


def test_a_run_on_40_disks_with_little_space_ends_well_or_with_exit_code_5(
    text: Path, tmp_path: Path
) -> None:
    """The checkpoint of before is whole on each of them: every fork checks it."""
    one = used_bytes(committed(text.parent / "begun" / "checkpoints")[0])
    pages = -(-one // PAGE)
    sizes = [PAGE * number for number in (*range(2 * pages), *range(2 * pages, 6 * pages, pages))]
    sizes = [*sizes[:: max(1, len(sizes) // 40)][:39], 8 * one]
    assert len(set(sizes)) == 40
    codes = {
        size: in_fork(lambda size=size: continue_on_a_disk_with(size, text, tmp_path))
        for size in sizes
    }
    assert set(codes.values()) == {0, 5}, codes
    assert codes[max(codes)] == 0
