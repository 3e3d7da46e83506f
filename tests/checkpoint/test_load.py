from pathlib import Path
from typing import Any

import pytest
import torch

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import (
    inspect,
    read_checkpoint,
    read_named,
    read_newest,
    resolve,
    verify,
)
from seqtrain.checkpoint.retention import record_score
from seqtrain.errors import CheckpointError


def save(directory: Path, num_updates: int) -> Path:
    model = {"weight": torch.full((2, 3), float(num_updates))}
    parts: dict[str, Any] = {"model": model, "trainer": {"num_updates": num_updates}}
    return write_checkpoint(directory, num_updates, parts | {"rank-00000": {"seed": 1}}, {})


def damage(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_read_gives_what_was_written(tmp_path: Path) -> None:
    loaded = read_checkpoint(save(tmp_path, 5))
    assert loaded.parts["trainer"] == {"num_updates": 5}
    torch.testing.assert_close(loaded.parts["model"]["weight"], torch.full((2, 3), 5.0))
    assert loaded.manifest.num_updates == 5


def test_only_named_parts_are_returned_and_absent_ones_left_out(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    assert list(read_checkpoint(path, names=("model", "criterion")).parts) == ["model"]


def test_files_of_parts_that_are_not_returned_are_verified(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    damage(path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        read_checkpoint(path, names=("trainer",))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        verify(path)
    assert inspect(path).num_updates == 5


def test_parts_of_other_ranks_can_be_left_out(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    assert "rank-00000" in read_checkpoint(path, expected_rank=0).parts
    assert list(read_checkpoint(path, expected_rank=1).parts) == ["model", "trainer"]


def test_newest_valid_checkpoint_is_found_with_a_line_for_each_damaged_one(tmp_path: Path) -> None:
    save(tmp_path, 5)
    for num_updates in (10, 15):
        damage(save(tmp_path, num_updates))
    (tmp_path / "step-99").mkdir()
    lines: list[str] = []
    loaded = read_newest(tmp_path, lines.append)
    assert loaded is not None
    assert loaded.manifest.num_updates == 5
    assert len(lines) == 3
    assert "cannot use step-0000000015" in lines[0]
    assert "cannot use step-0000000010" in lines[1]
    assert lines[2] == (
        "going back to step-0000000005: up to 15 updates had been saved, those after 5 are done "
        "again"
    )


def test_nothing_is_reported_where_the_newest_is_valid(tmp_path: Path) -> None:
    damage(save(tmp_path, 5))
    save(tmp_path, 10)
    lines: list[str] = []
    loaded = read_newest(tmp_path, lines.append)
    assert loaded is not None
    assert (loaded.path.name, lines) == ("step-0000000010", [])


def test_run_does_not_begin_anew_where_all_checkpoints_are_damaged(tmp_path: Path) -> None:
    damage(save(tmp_path, 5))
    (tmp_path / "step-0000000010").touch()
    (tmp_path / "step-0000000015").symlink_to("/nowhere")
    (tmp_path / "step-0000000020").mkdir()
    with pytest.raises(CheckpointError, match="does not begin anew") as refusal:
        read_newest(tmp_path, lambda line: None)
    for reason in (
        "step-0000000005/model.safetensors: damaged",
        "step-0000000010: not a directory",
        "step-0000000015: not a directory",
        "step-0000000020/manifest.json: missing",
    ):
        assert reason in str(refusal.value)


def test_no_checkpoints_are_no_error(tmp_path: Path) -> None:
    assert read_newest(tmp_path, print) is None
    assert read_newest(tmp_path / "absent", print) is None
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="Cannot list"):
        read_newest(tmp_path / "file", print)


def test_renamed_checkpoint_is_not_taken_for_another_update(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    renamed = path.rename(tmp_path / "step-0000000006")
    with pytest.raises(CheckpointError, match="says 5 updates, the directory's name 6"):
        read_checkpoint(renamed)
    copied = renamed.rename(tmp_path / "my-best-model")
    assert read_checkpoint(copied).manifest.num_updates == 5


def test_run_directory_means_the_best_checkpoint_or_else_the_newest(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    older, newer = save(directory, 5), save(directory, 10)
    assert resolve(tmp_path) == resolve(directory) == newer
    record_score(directory, older.name, "loss", 1.0, maximize=False)
    record_score(directory, newer.name, "loss", 2.0, maximize=False)
    assert resolve(tmp_path) == resolve(directory) == older
    assert resolve(newer) == newer


def test_link_to_a_checkpoint_can_be_named(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    link = tmp_path / "model"
    link.symlink_to(path)
    assert read_checkpoint(resolve(link)).manifest.num_updates == 5


def test_path_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        resolve(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve(tmp_path / "absent")
    (tmp_path / "step-0000000001").mkdir()
    with pytest.raises(CheckpointError, match=r"step-0000000001/manifest\.json: missing"):
        read_checkpoint(resolve(tmp_path / "step-0000000001"))
    with pytest.raises(CheckpointError, match="absent"):
        read_checkpoint(tmp_path / "absent")


def test_best_checkpoint_that_was_deleted_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    record_score(tmp_path, path.name, "loss", 1.0, maximize=False)
    path.rename(tmp_path / "step-0000000006")
    with pytest.raises(CheckpointError, match=r"best\.json names step-0000000005"):
        resolve(tmp_path)


def test_a_step_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for num_updates in range(1, 8):
        save(tmp_path / "run/checkpoints", num_updates)
    monkeypatch.chdir(tmp_path)
    newest = ", ".join(f"step-000000000{n}" for n in (7, 6, 5, 4, 3))
    expected = f"does not exist. In run/checkpoints there are {newest}, and 2 older."
    for path in (
        "run/checkpoints/step-0000000009",
        "run/step-0000000009",
        "run/checkpoints/step-9",
    ):
        with pytest.raises(CheckpointError) as refusal:
            resolve(Path(path))
        assert str(refusal.value) == f"{path} {expected}"


def test_beside_a_damaged_checkpoint_the_newest_whole_one_is_named_as_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [save(tmp_path / "run/checkpoints", num_updates) for num_updates in (5, 6, 7)]
    monkeypatch.chdir(tmp_path)
    assert read_named(Path("run"), "checkpoint").manifest.num_updates == 7
    for step in steps[1:]:
        damage(step)
    named = "checkpoint=run/checkpoints/step-0000000005"
    with pytest.raises(CheckpointError, match=rf"damaged.* is whole: {named}$"):
        read_named(Path("run"), "checkpoint")
    assert read_named(Path("run/checkpoints/step-0000000005"), "").manifest.num_updates == 5
    damage(steps[0])
    with pytest.raises(CheckpointError, match="damaged") as refusal:
        read_named(Path("run"), "checkpoint")
    assert "is whole" not in str(refusal.value)
