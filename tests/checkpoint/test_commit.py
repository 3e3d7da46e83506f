import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.errors import CheckpointError, MachineError, SeqtrainError


class Unreadable:
    """A leaf that no checkpoint can hold."""


class ThreadCollectives:
    """Collectives of ranks that are threads of this process."""

    def __init__(self, rank: int, world_size: int, shared: dict[str, Any]) -> None:
        self.rank = rank
        self.world_size = world_size
        self.shared = shared

    def gather_json(self, value: Any) -> list[Any]:
        self.shared["values"][self.rank] = value
        self.shared["barrier"].wait()
        values = list(self.shared["values"])
        self.shared["barrier"].wait()
        return values


def on_ranks(world_size: int, action: Callable[[ThreadCollectives], Any]) -> list[Any]:
    """Runs the action as every rank; returns the results or the errors."""
    barrier = threading.Barrier(world_size, timeout=20)
    shared = {"values": [None] * world_size, "barrier": barrier}
    results: list[Any] = [None] * world_size

    def run(rank: int) -> None:
        try:
            results[rank] = action(ThreadCollectives(rank, world_size, shared))
        except SeqtrainError as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def parts_of(rank: int) -> dict[str, Any]:
    own = {f"rank-{rank:05d}": {"rng": torch.full((3,), rank)}}
    return own if rank else own | {"model": {"weight": torch.ones(2, 2)}, "trainer": {"n": 1}}


def test_checkpoint_has_the_published_layout(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "checkpoints", 12_000, parts_of(0), {"epoch": 3})
    assert path == tmp_path / "checkpoints" / "step-0000012000"
    assert {file.name for file in path.iterdir()} == {
        "manifest.json", "model.json", "model.safetensors", "trainer.json", "rank-00000.json",
        "rank-00000.safetensors",
    }  # fmt: skip
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert read_checkpoint(path).manifest.about == {"epoch": 3}


def test_equal_state_gives_equal_files(tmp_path: Path) -> None:
    left = write_checkpoint(tmp_path / "a", 5, parts_of(0), {})
    right = write_checkpoint(tmp_path / "b", 5, parts_of(0), {})
    for file in left.iterdir():
        assert file.read_bytes() == (right / file.name).read_bytes()


def test_saving_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 5, parts_of(0), {})
    before = {file.name: file.stat().st_ino for file in path.iterdir()}
    assert write_checkpoint(tmp_path, 5, parts_of(0), {}) == path
    assert {file.name: file.stat().st_ino for file in path.iterdir()} == before
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208 # hidden names count


def test_other_content_for_an_existing_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 5, {"model": {"w": torch.zeros(2)}}, {})
    with pytest.raises(CheckpointError, match=r"step-0000000005: it is there already with other"):
        write_checkpoint(tmp_path, 5, {"model": {"w": torch.ones(2)}}, {})
    assert read_checkpoint(path).parts["model"]["w"].tolist() == [0.0, 0.0]
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_checkpoint_is_replaced_when_the_run_comes_there_again(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 5, {"trainer": {"seconds": 1.0}}, {})
    file = path / "trainer.json"
    file.write_bytes(file.read_bytes().replace(b"1.0", b"1.5"))
    write_checkpoint(tmp_path, 5, {"trainer": {"seconds": 2.0}}, {})
    assert read_checkpoint(path).parts == {"trainer": {"seconds": 2.0}}
    assert list(tmp_path.iterdir()) == [path]


def test_link_in_the_place_of_a_checkpoint_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    (directory / "step-0000000005").symlink_to(victim)
    path = write_checkpoint(directory, 5, parts_of(0), {})
    assert not path.is_symlink()
    assert (victim / "file").exists()


def test_too_little_space_is_noticed_before_writing(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(2**50)
    message = r"not enough space: \d{15,} bytes needed, \d+ free in .*" + tmp_path.name
    with pytest.raises(MachineError, match=message):
        write_checkpoint(tmp_path, 5, {"model": {"w": huge}}, {})
    assert list(tmp_path.iterdir()) == []


def test_rename_comes_after_everything_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, Path]] = []
    fsync, rename = os.fsync, os.rename

    def traced_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink()))

    def traced_rename(source: Path, target: Path) -> None:
        rename(source, target)
        events.append(("rename", Path(target)))

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced_rename)
    path = write_checkpoint(tmp_path / "checkpoints", 5, parts_of(0), {})
    made_folder, *files, manifest, folder, renamed, made_checkpoint = events
    assert made_folder == ("fsync", tmp_path)
    unfinished = folder[1]
    assert manifest == ("fsync", unfinished / "manifest.json")
    assert {name for _, name in [*files, manifest]} == {
        unfinished / file.name for file in path.iterdir()
    }
    assert renamed == ("rename", path)
    assert made_checkpoint == ("fsync", path.parent)


@pytest.mark.parametrize("name", ["manifest", "../x", "Model", "a.b", "", "x" * 65, "rank-00001"])
def test_part_name_that_cannot_be_a_file_of_this_rank_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="part"):
        write_checkpoint(tmp_path, 5, {name: {}}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_updates", [-1, 10**10])
def test_update_count_without_a_name_is_refused(tmp_path: Path, num_updates: int) -> None:
    with pytest.raises(CheckpointError, match="update count"):
        write_checkpoint(tmp_path, num_updates, {}, {})


def test_ranks_write_one_checkpoint_together(tmp_path: Path) -> None:
    paths = on_ranks(3, lambda c: write_checkpoint(tmp_path, 7, parts_of(c.rank), {}, c))
    assert paths == [tmp_path / "step-0000000007"] * 3
    loaded = read_checkpoint(paths[0])
    assert loaded.manifest.world_size == 3
    assert sorted(loaded.parts) == ["model", "rank-00000", "rank-00001", "rank-00002", "trainer"]
    assert loaded.parts["rank-00002"]["rng"].tolist() == [2, 2, 2]
    assert list(tmp_path.iterdir()) == [paths[0]]


@pytest.mark.parametrize("guilty", [0, 1])
def test_failure_of_one_rank_fails_all_with_one_message(tmp_path: Path, guilty: int) -> None:
    def save(collectives: ThreadCollectives) -> Path:
        parts = parts_of(collectives.rank)
        if collectives.rank == guilty:
            parts[f"rank-{guilty:05d}"]["bad"] = Unreadable()
        return write_checkpoint(tmp_path, 7, parts, {}, collectives)

    errors = on_ranks(2, save)
    assert [type(error) for error in errors] == [CheckpointError] * 2
    assert str(errors[0]) == str(errors[1])
    assert f"rank {guilty}: Part rank-{guilty:05d}/bad: a Unreadable is neither" in str(errors[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("guilty", [0, 1])
def test_failure_while_writing_fails_all_and_leaves_nothing(tmp_path: Path, guilty: int) -> None:
    class Vanishing(torch.Tensor):
        """Planned like any tensor, and then its bytes cannot be had: a device that is lost."""

        def detach(self) -> torch.Tensor:
            raise RuntimeError("device lost")

    def save(collectives: ThreadCollectives) -> Path:
        parts = parts_of(collectives.rank)
        if collectives.rank == guilty:
            parts[f"rank-{guilty:05d}"]["x"] = torch.zeros(2).as_subclass(Vanishing)
        return write_checkpoint(tmp_path, 7, parts, {}, collectives)

    errors = on_ranks(2, save)
    assert [type(error) for error in errors] == [CheckpointError] * 2
    assert {str(error) for error in errors} == {
        f"Cannot write the checkpoint {tmp_path / 'step-0000000007'}: rank {guilty}: device lost"
    }
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_for_all_ranks_together_is_a_machine_error_on_all(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    share = disk.f_bavail * disk.f_frsize * 6 // 10  # one rank's part would fit

    def save(collectives: ThreadCollectives) -> Path:
        part = {"x": torch.zeros(1, dtype=torch.uint8).expand(share)}
        parts = {f"rank-{collectives.rank:05d}": part}
        return write_checkpoint(tmp_path, 7, parts, {}, collectives)

    errors = on_ranks(2, save)
    assert [type(error) for error in errors] == [MachineError] * 2
    assert list(tmp_path.iterdir()) == []
