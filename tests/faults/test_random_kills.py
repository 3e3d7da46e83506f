"""kill -9 at random instants of training and of saving: nothing committed is lost, ever."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kill_plugin  # registers test_journal
import pytest
import torch
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.checkpoint.layout import committed, is_leftover, updates_of
from seqtrain.checkpoint.load import verify
from seqtrain.pipeline import train
from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference

KILLS_OF_A_RUN = 5
SAVE_INTERVAL = 2

assert kill_plugin.Journal
torch.set_num_threads(1)


@dataclass
class Tally:
    """What was seen."""

    kills: int = 0
    in_save: int = 0
    finished: int = 0


def config_of(text: Path, run_dir: Path, background: bool) -> dict[str, Any]:
    journal = {"file": f"{run_dir}.journal"}
    return toy_config(
        text,
        run_dir,
        ema={"kind": "ema", "decay": 0.9},
        checkpoint={"save_interval_updates": SAVE_INTERVAL, "background": background},
        callback={"test_journal": journal},
    )


def start(config: dict[str, Any]) -> int:
    """Begins or continues a run in a fork; returns its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        train(config)
        status = 0
    finally:
        os._exit(status)


def ends_before(child: int, is_time: Callable[[], bool]) -> bool:
    """Waits for the time to kill, then kills; returns True where the child had ended well."""
    while not is_time():
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert status == 0, "a run failed by itself"
            return True
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


def at_an_instant(rng: random.Random, seconds: float) -> Callable[[], bool]:
    """Any instant of a run, its start included."""
    deadline = time.monotonic() + rng.uniform(0.0, seconds)
    return lambda: time.monotonic() >= deadline


def inside_a_save(rng: random.Random, checkpoints: Path) -> Callable[[], bool]:
    """Soon after the folder of an unfinished checkpoint has appeared, for the nth time."""
    seen: set[str] = set()
    nth = rng.randint(1, 4)
    pause = rng.choice([0.0, 0.0, rng.uniform(0.0, 0.02)])

    def is_time() -> bool:
        seen.update(leftovers(checkpoints))
        if len(seen) < nth:
            return False
        time.sleep(pause)
        return True

    return is_time


def leftovers(checkpoints: Path) -> list[str]:
    try:
        return [path.name for path in checkpoints.iterdir() if is_leftover(path.name)]
    except FileNotFoundError:
        return []


def notes(run_dir: Path, what: str) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        lines = Path(f"{run_dir}.journal").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.split()[0] == what]
    return []


def require_nothing_lost(run_dir: Path, newest_before: int) -> int:
    """All that is committed is whole, and the newest is as new as any that was acknowledged."""
    paths = committed(run_dir / "checkpoints")
    for path in paths:
        verify(path)
    newest = max((updates_of(path.name) or 0 for path in paths), default=0)
    acknowledged = max(notes(run_dir, "saved"), default=0)
    assert newest >= max(acknowledged, newest_before)
    # One save may be under way in the background while the next interval is trained.
    assert max(notes(run_dir, "update"), default=0) - newest <= 2 * SAVE_INTERVAL
    return newest


def kill_until_it_ends(
    config: dict[str, Any], rng: random.Random, seconds: float, tally: Tally
) -> None:
    """Starts a run again and again, kills it a few times, and lets it end."""
    run_dir = Path(config["run_dir"])
    checkpoints = run_dir / "checkpoints"
    newest = 0
    for number in range(KILLS_OF_A_RUN + 1):
        starts = len(notes(run_dir, "start"))
        child = start(config)
        if number == KILLS_OF_A_RUN:
            assert os.waitpid(child, 0)[1] == 0
            ended = True
        elif rng.random() < 0.5:
            ended = ends_before(child, inside_a_save(rng, checkpoints))
        else:
            ended = ends_before(child, at_an_instant(rng, seconds))
        for begun in notes(run_dir, "start")[starts:]:
            assert begun == newest, "the run did not go on from the newest checkpoint"
        if ended:
            tally.finished += 1
            return
        tally.kills += 1
        tally.in_save += bool(leftovers(checkpoints))
        newest = require_nothing_lost(run_dir, newest)


def require_same_end(one: Path, other: Path) -> None:
    assert first_difference(final_state(one), final_state(other), "state") == ""
    newest = committed(one / "checkpoints")[0].name
    for name in ("model", "optimizer", "ema"):
        file = f"checkpoints/{newest}/{name}.safetensors"
        assert (one / file).read_bytes() == (other / file).read_bytes()
    assert history(one) == history(other)
    for file in ("checkpoints/best.json", "test_metrics.json"):
        assert (one / file).read_bytes() == (other / file).read_bytes()
    names = [path.name for path in committed(one / "checkpoints")]
    assert names == [path.name for path in committed(other / "checkpoints")]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
        load_plugins([])  # once, so that every fork has all imports
        yield write_toy_text(tmp_path_factory.mktemp("kills") / "text")


def kill_runs(text: Path, folder: Path, seed: int, num_kills: int) -> Tally:
    """Kills runs until there were so many kills; compares each end with a run never killed."""
    rng = random.Random(seed)
    background = seed % 2 == 0
    straight = folder / "straight"
    started = time.monotonic()
    assert os.waitpid(start(config_of(text, straight, background)), 0)[1] == 0
    seconds = time.monotonic() - started
    tally = Tally()
    while tally.kills < num_kills:
        run_dir = folder / str(tally.finished)
        kill_until_it_ends(config_of(text, run_dir, background), rng, 0.6 * seconds, tally)
        require_same_end(straight, run_dir)
    return tally


@pytest.mark.parametrize("seed", range(4))
def test_50_kills_lose_nothing_and_each_run_ends_as_if_never_killed(
    text: Path, tmp_path: Path, seed: int
) -> None:
    """Four of these make 200 kills and at least 40 finished runs."""
    tally = kill_runs(text, tmp_path, seed, num_kills=50)
    assert tally.kills >= 50
    assert tally.finished >= 10
    assert tally.in_save >= 0.3 * tally.kills, tally
    print(f"{tally.kills} kills, {tally.in_save} in a save, {tally.finished} finished runs")  # noqa: T201 # figures, with -s


@pytest.mark.slow
def test_2000_kills_lose_nothing(text: Path, tmp_path: Path) -> None:
    for seed in range(4, 14):
        folder = tmp_path / str(seed)
        tally = kill_runs(text, folder, seed, num_kills=200)
        assert tally.in_save >= 0.3 * tally.kills, tally
