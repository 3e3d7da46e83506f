import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kill_plugin
import pytest
from toy_command import overrides, run_toy_command
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.checkpoint.layout import committed, is_leftover
from seqtrain.checkpoint.load import verify
from seqtrain.training.resume import first_difference

SECTIONS: dict[str, Any] = {
    "dataset": {"num_workers": 2},
    "optimization": {"update_freq": 3, "max_epoch": 40},
    "precision": {"dtype": "bf16"},
    "ema": {"kind": "ema", "decay": 0.9},
    "checkpoint": {"save_interval_updates": 2},
    "validation": {"validate_interval_updates": 20},
}


def test_the_same_command_after_a_kill_ends_as_if_never_killed(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    sections: dict[str, Any] = {
        "dataset": {"num_workers": 2},
        "optimization": {"update_freq": 3},
        "precision": {"dtype": "bf16"},
        "checkpoint": {"save_interval_updates": 1},
    }
    straight = tmp_path / "straight"
    assert run_toy_command(text, straight, **sections).returncode == 0
    last = final_state(straight)["trainer"]["num_updates"]
    killed = tmp_path / "killed"
    kills = sorted({1, 2, last // 2, last // 2 + 1, last - 1, last})
    assert len(kills) == 6
    for update in kills:
        kill = {"test_kill": {"after_update": update}}
        result = run_toy_command(text, killed, callback=kill, **sections)
        assert result.returncode == -signal.SIGKILL, result.stderr
    result = run_toy_command(text, killed, **sections)
    assert result.returncode == 0, result.stderr
    assert first_difference(final_state(straight), final_state(killed), "state") == ""
    assert history(killed) == history(straight)


def start(text: Path, run_dir: Path) -> subprocess.Popen[bytes]:
    journal = {"test_journal": {"file": f"{run_dir}.journal"}}
    words = overrides(toy_config(text, run_dir, callback=journal, **SECTIONS))
    return subprocess.Popen(
        [sys.executable, "-m", "seqtrain_cli.train", f"plugins=[{kill_plugin.__file__}]", *words],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def kill_soon(process: subprocess.Popen[bytes], run_dir: Path, rng: random.Random) -> bool:
    """Kills a random while after a few more updates; returns whether that was inside a save."""
    journal = Path(f"{run_dir}.journal")
    wanted = num_lines(journal) + rng.randint(2, 16)
    while num_lines(journal) < wanted:
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.05))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return any(is_leftover(path.name) for path in (run_dir / "checkpoints").iterdir())


def num_lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.slow
def test_20_kills_of_the_command_at_random_instants_lose_nothing(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    rng = random.Random(5)
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    in_save = newest = 0
    for _ in range(20):
        in_save += kill_soon(start(text, killed), killed, rng)
        paths = committed(killed / "checkpoints")
        for path in paths:
            verify(path)
        before, newest = newest, int(paths[0].name.removeprefix("step-")) if paths else 0
        assert newest >= before
        notes = [line.split() for line in Path(f"{killed}.journal").read_text().splitlines()]
        assert newest >= max((int(n) for what, n in notes if what == "saved"), default=0)
        assert [int(n) for what, n in notes if what == "start"][-1] == before
    for run_dir in (killed, straight):
        assert start(text, run_dir).wait() == 0
    assert first_difference(final_state(straight), final_state(killed), "state") == ""
    assert history(killed) == history(straight)
    print(f"{in_save} of 20 kills inside a save, the last after update {newest}")  # noqa: T201 # figures, with -s
