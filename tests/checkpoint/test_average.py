from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtrain.checkpoint.average import Selection, average_checkpoints, select
from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import read_checkpoint, resolve
from seqtrain.checkpoint.retention import record_score
from seqtrain.errors import CheckpointError, ConfigError


def weights(update: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(update)
    tied = torch.randn(4, 3, generator=generator)
    return {"embed": tied, "output": tied, "count": torch.tensor(update)}


def write(folder: Path, update: int, **parts: Any) -> Path:
    given: dict[str, Any] = {
        "config": {"model": {"name": "m", "dim": 3}},
        "task": {"symbols": ["a", "b"]},
        "model": weights(update),
        "optimizer": {"slots": torch.zeros(2)},
    }
    return write_checkpoint(folder, update, given | parts, {"host": "h"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoints = tmp_path / "checkpoints"
    for update, score in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 4.0)):
        path = write(checkpoints, update)
        record_score(checkpoints, path.name, "valid_loss", score, maximize=False)
    return checkpoints


def updates(paths: list[Path]) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in paths]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"last": 2}, [40, 30]),
        ({"best": 2}, [20, 30]),
        ({"from_update": 20, "to_update": 30}, [30, 20]),
        ({"to_update": 15}, [10]),
        ({"last": 2, "to_update": 30}, [30, 20]),
        ({"best": 1, "from_update": 25}, [30]),
    ],
)
def test_checkpoints_are_chosen_as_asked(
    folder: Path, fields: dict[str, int], expected: list[int]
) -> None:
    assert updates(select(folder, Selection(**fields))) == expected


@pytest.mark.parametrize("fields", [{"last": 5}, {"best": 5}, {"from_update": 50}])
def test_too_few_checkpoints_are_an_error_not_a_smaller_average(
    folder: Path, fields: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match="does not hold"):
        select(folder, Selection(**fields))


@pytest.mark.parametrize("fields", [{}, {"last": 1, "best": 1}, {"last": -1}])
def test_a_wish_that_makes_no_sense_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="last"):
        Selection(**fields)


def test_the_average_is_the_mean_and_all_that_using_a_model_takes(folder: Path) -> None:
    paths = select(folder, Selection(last=3))
    written = average_checkpoints(paths, folder.parent / "average")
    loaded = read_checkpoint(resolve(folder.parent / "average"))
    assert loaded.path.resolve() == written.resolve()
    assert set(loaded.parts) == {"config", "task", "model"}
    mean = torch.stack([weights(n)["embed"].double() for n in (20, 30, 40)]).sum(dim=0) / 3
    model = loaded.parts["model"]
    assert torch.equal(model["embed"], mean.float())
    assert model["output"] is model["embed"]
    assert model["count"] == 40
    assert loaded.manifest.num_updates == 40
    assert loaded.manifest.about["average_of"] == [str(path) for path in reversed(paths)]


def test_criteria_are_averaged_too(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, update, criterion={"w": torch.full((2,), float(update))})
        for update in (1, 4)
    ]
    parts = read_checkpoint(average_checkpoints(paths, tmp_path / "out")).parts
    assert parts["criterion"]["w"].tolist() == [2.5, 2.5]


def test_where_a_run_keeps_an_average_of_its_own_that_is_averaged(tmp_path: Path) -> None:
    paths = [write(tmp_path, update, ema={"model": weights(100 * update)}) for update in (1, 2)]
    parts = read_checkpoint(average_checkpoints(paths, tmp_path / "out")).parts
    mean = (weights(100)["embed"].double() + weights(200)["embed"]) / 2
    assert torch.equal(parts["model"]["embed"], mean.float())
    assert "ema" not in parts


def test_the_average_of_one_is_that_one(folder: Path) -> None:
    written = average_checkpoints(select(folder, Selection(last=1)), folder.parent / "out")
    torch.testing.assert_close(read_checkpoint(written).parts["model"], weights(40), rtol=0, atol=0)


@pytest.mark.parametrize(
    "parts",
    [
        {"config": {"model": {"name": "m", "dim": 4}}},
        {"task": {"symbols": ["b", "a"]}},
        {"model": {"embed": torch.zeros(4, 4)}},
        {"criterion": {"w": torch.zeros(2)}},
    ],
)
def test_checkpoints_that_do_not_belong_together_are_refused(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    paths = [write(tmp_path, 1, **parts), write(tmp_path, 2)]
    with pytest.raises(CheckpointError, match="cannot be averaged"):
        average_checkpoints(paths, tmp_path / "out")


def test_a_run_is_never_overwritten_by_its_average(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="there already with other content"):
        average_checkpoints(select(folder, Selection(last=2)), folder)
