"""Kills and failures at every call to the operating system that a save makes, in forks."""

import errno
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtrain.checkpoint.background_writer import CheckpointWriter
from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.layout import step_name, updates_of
from seqtrain.checkpoint.load import read_checkpoint, read_newest, verify
from seqtrain.checkpoint.retention import (
    apply_retention,
    best_checkpoint,
    clean_leftovers,
    record_score,
)
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import MachineError, SeqtrainError

CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "close")
DONE, BORNE, REFUSED, BROKEN = 0, 2, 3, 4
Save = Callable[..., None]


def state(num_updates: int) -> dict[str, Any]:
    torch.manual_seed(num_updates)
    model = {"weight": torch.randn(50, 20), "bias": torch.randn(20)}
    return {"model": model, "trainer": {"num_updates": num_updates}}


def save(directory: Path, num_updates: int, score: float | None = None) -> None:
    """What a run does at a save: commit, rank, delete."""
    path = write_checkpoint(directory, num_updates, state(num_updates), {})
    keep_books(directory, path, score)


def save_in_background(directory: Path, num_updates: int, score: float | None = None) -> None:
    """The same from a thread, while the state goes on changing."""
    parts = state(num_updates)
    writer = CheckpointWriter(Collectives(), in_background=True)
    writer.save(directory, num_updates, parts, {})
    while not writer.can_finish:
        for tensor in parts["model"].values():
            tensor.add_(1.0)
    path = writer.finish()
    assert path is not None
    keep_books(directory, path, score)


def keep_books(directory: Path, path: Path, score: float | None) -> None:
    usual = 1.0 if updates_of(path.name) in (20, 50) else 2.0
    record_score(directory, path.name, "loss", score or usual, maximize=False)
    apply_retention(directory, keep_last=2, keep_best=1)


def in_child(action: Callable[[], None]) -> int:
    """Runs an action in a fork; returns its exit status, or 128 + signal."""
    child = os.fork()
    if child:
        return_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return 128 - return_code if return_code < 0 else return_code
    status = BROKEN
    try:
        action()
        status = DONE
    except SeqtrainError as error:
        status = REFUSED if "\n" not in str(error) else BROKEN
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def before_call(number: int, fault: Callable[[], None]) -> None:
    """Makes the fault happen in this process right before the given call of `CALLS`."""
    remaining = [number]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] == -1:
                fault()
            return real(*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process has written is there without fsync; only a power cut takes it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def after_40(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after saves at 10, 20 (the best), 30 and 40 updates."""
    directory = tmp_path_factory.mktemp("after_40") / "checkpoints"
    for num_updates in (10, 20, 30, 40):
        save(directory, num_updates)
    assert committed(directory) == [20, 30, 40]
    return directory


def require_same_state(directory: Path, num_updates: int) -> None:
    loaded = read_checkpoint(directory / step_name(num_updates))
    expected = state(num_updates)
    for name, tensor in expected["model"].items():
        assert loaded.parts["model"][name].equal(tensor)
    assert loaded.parts["trainer"] == expected["trainer"]


def committed(directory: Path) -> list[int]:
    return sorted(u for path in directory.iterdir() if (u := updates_of(path.name)) is not None)


def recover(directory: Path) -> int:
    """Does what the next start does; returns the update count that it goes on from."""
    clean_leftovers(directory)
    names = {path.name for path in directory.iterdir()} - {"best.json"}
    assert all(updates_of(name) is not None for name in names), names
    lines: list[str] = []
    loaded = read_newest(directory, lines.append)
    assert lines == [], "a kill damaged a checkpoint"
    assert loaded is not None
    for num_updates in committed(directory):
        require_same_state(directory, num_updates)
    return loaded.manifest.num_updates


@pytest.mark.parametrize("how", [save, save_in_background])
def test_kill_at_every_call_of_the_first_save_leaves_all_or_nothing(
    how: Save, tmp_path: Path
) -> None:
    kills = 0
    for number in range(1000):
        directory = tmp_path / str(number)

        def action(number: int = number, directory: Path = directory) -> None:
            before_call(number, die)
            how(directory, 10)

        status = in_child(action)
        clean_leftovers(directory)
        found = read_newest(directory, lambda line: pytest.fail(line))
        assert found is None or found.manifest.num_updates == 10
        if status == DONE:
            assert found is not None
            break
        assert status == 128 + signal.SIGKILL
        kills += 1
    assert kills > 25


@pytest.mark.parametrize("how", [save, save_in_background])
def test_kill_at_every_call_of_a_later_save_loses_no_committed_checkpoint(
    how: Save, after_40: Path, tmp_path: Path
) -> None:
    """Each kill is followed by the recovery that a start makes, then the run goes on to a save."""
    kills = 0
    goes_on_from = set()
    for number in range(1000):
        directory = tmp_path / str(number)
        shutil.copytree(after_40, directory)

        def action(number: int = number, directory: Path = directory) -> None:
            before_call(number, die)
            how(directory, 50)

        status = in_child(action)
        newest = recover(directory)
        goes_on_from.add(newest)
        assert best_checkpoint(directory) == directory / step_name(20)
        save(directory, 50)  # what was lost is done again
        assert committed(directory) == [20, 40, 50]
        if status == DONE:
            assert newest == 50
            break
        assert status == 128 + signal.SIGKILL
        kills += 1
    assert kills > 40
    assert goes_on_from == {40, 50}


@pytest.mark.parametrize("how", [save, save_in_background])
def test_kill_at_every_call_of_a_save_of_a_new_best_leaves_the_old_or_the_new_best(
    how: Save, after_40: Path, tmp_path: Path
) -> None:
    """The new best takes the place of the old one, which is then deleted."""
    found = []
    for number in range(1000):
        directory = tmp_path / str(number)
        shutil.copytree(after_40, directory)

        def action(number: int = number, directory: Path = directory) -> None:
            before_call(number, die)
            how(directory, 50, score=0.5)

        status = in_child(action)
        newest = recover(directory)
        best = best_checkpoint(directory)
        assert best is not None
        verify(best)
        found.append((newest, updates_of(best.name)))
        keep_books(directory, directory / step_name(newest), 0.5 if newest == 50 else None)
        if newest == 50:  # what the next start does makes good what the kill prevented
            assert best_checkpoint(directory) == directory / step_name(50)
            assert committed(directory) == [30, 40, 50]
        if status == DONE:
            break
        assert status == 128 + signal.SIGKILL
    assert set(found) == {(40, 20), (50, 20), (50, 50)}
    assert found == sorted(found)


def test_kill_while_a_damaged_checkpoint_is_replaced_keeps_the_older_one(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    for num_updates in (10, 20):
        save(damaged, num_updates)
    (damaged / step_name(20) / "model.json").write_bytes(b"")
    for number in range(1000):
        directory = tmp_path / str(number)
        shutil.copytree(damaged, directory)

        def action(number: int = number, directory: Path = directory) -> None:
            before_call(number, die)
            write_checkpoint(directory, 20, state(20), {})

        status = in_child(action)
        clean_leftovers(directory)
        found = read_newest(directory, lambda line: None)
        assert found is not None
        require_same_state(directory, found.manifest.num_updates)
        if status == DONE:
            assert found.manifest.num_updates == 20
            break
        assert status == 128 + signal.SIGKILL


@pytest.mark.parametrize("number_of_error", [errno.ENOSPC, errno.EIO])
def test_error_at_every_call_is_one_line_and_harms_no_checkpoint(
    number_of_error: int, after_40: Path, tmp_path: Path
) -> None:
    faults = 0
    for number in range(1000):
        directory = tmp_path / str(number)
        shutil.copytree(after_40, directory)

        def action(number: int = number, directory: Path = directory) -> None:
            happened = []

            def fault() -> None:
                happened.append(True)
                raise OSError(number_of_error, os.strerror(number_of_error))

            before_call(number, fault)
            save(directory, 50)
            os._exit(BORNE if happened else DONE)

        status = in_child(action)
        assert recover(directory) in (40, 50)
        assert {20, 40} <= set(committed(directory))
        if status == DONE:
            break
        assert status in (REFUSED, BORNE), f"call {number}"
        faults += 1
    assert faults > 40


def test_disk_that_fills_up_at_any_byte_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    save(tmp_path, 10)
    largest = max(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    limits = [largest * part // 40 for part in range(40)]

    for limit in limits:

        def action(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            before = set(tmp_path.iterdir())
            unfinished = str(tmp_path / ".tmp-step-0000000020")
            with pytest.raises(MachineError, match=f"{unfinished}.*: File too large at byte"):
                write_checkpoint(tmp_path, 20, state(20), {})
            assert set(tmp_path.iterdir()) == before

        assert in_child(action) == DONE, limit
    verify(tmp_path / step_name(10))
    assert recover(tmp_path) == 10
    save(tmp_path, 20)
    assert recover(tmp_path) == 20


def test_short_writes_make_the_same_files(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "whole", 10, state(10), {})

    def action() -> None:
        real = os.write
        os.write = lambda descriptor, data: real(descriptor, memoryview(data)[:1000])
        write_checkpoint(tmp_path / "short", 10, state(10), {})

    assert in_child(action) == DONE
    for file in whole.iterdir():
        assert file.read_bytes() == (tmp_path / "short" / whole.name / file.name).read_bytes()


def test_folder_of_checkpoints_that_vanishes_during_the_run_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    save(directory, 10)
    directory.rename(tmp_path / "moved")
    save(directory, 20)
    assert recover(directory) == 20
