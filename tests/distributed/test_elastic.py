from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks, said
from toy_command import PLUGIN
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.checkpoint.load import read_newest
from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    load_plugins([str(PLUGIN)])
    return write_toy_text(tmp_path_factory.mktemp("text"))


def train(text: Path, run_dir: Path, world_size: int, **sections: Any) -> None:
    """Trains in forks; 4 micro-batches an update, about 7 updates an epoch, unless said.

    With dropout, tied embeddings, clipping and an average of the weights.
    """
    given = {
        "model": {"share_embeddings": "decoder"},
        "dataset": {"max_tokens": 12},
        "optimization": {"max_epoch": 3, "clip_norm": 0.2, "micro_batches_per_update": 4},
        "validation": {"validate_interval_updates": 0, "test_generate": False},
        "checkpoint": {"save_interval": 0, "background": False},
        "ema": {"kind": "ema", "decay": 0.9},
        "distributed": {"deterministic_elastic": True},
    }
    for name, values in sections.items():
        given[name] = given.get(name, {}) | values
    config = toy_config(text, run_dir, **given)
    folder = run_dir.with_name(f"{run_dir.name}-output")
    assert run_ranks(config, world_size, folder) == [0] * world_size, said(folder)


def whole_state(run_dir: Path) -> dict[str, Any]:
    """Returns all that updates change, the average of the weights included."""
    loaded = read_newest(run_dir / "checkpoints", print)
    assert loaded is not None
    return final_state(run_dir) | {"ema": loaded.parts["ema"]}


@pytest.fixture(scope="module")
def straight(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process that nothing happens to."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    train(text, run_dir, 1)
    return run_dir


@pytest.mark.parametrize("world_size", [2, 4])
def test_four_micro_batches_train_to_the_same_bits_on_any_number_of_ranks(
    text: Path, straight: Path, tmp_path: Path, world_size: int
) -> None:
    train(text, tmp_path / "run", world_size)
    state = whole_state(straight)
    assert state["trainer"]["num_updates"] >= 20
    assert first_difference(state, whole_state(tmp_path / "run"), "state") == ""
    ends = [history(folder)[-1] for folder in (straight, tmp_path / "run")]
    assert ends[0].pop("event") == ends[1].pop("event") == "test"
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


def test_a_run_that_goes_from_two_ranks_to_three_to_one_in_an_epoch_ends_like_a_straight_one(
    text: Path, straight: Path, tmp_path: Path
) -> None:
    run_dir, log = tmp_path / "run", tmp_path / "examples"
    for world_size, last in ((2, 2), (3, 4), (1, 0)):
        limits = {"max_update": last}
        callback = {"test_count": {"file": str(log)}}
        train(text, run_dir, world_size, optimization=limits, callback=callback)
    assert first_difference(whole_state(straight), whole_state(run_dir), "state") == ""
    seen = [int(line.split()[1]) for line in log.read_text().splitlines()]
    assert sum(seen) == 3 * 48
    ends = [
        row["num_updates"]
        for row in history(run_dir)
        if row["event"] == "epoch" and row["epoch"] == 1
    ]
    assert sum(seen[: ends[0]]) == 48
    assert ends[0] > 4  # all of the changes were in the first epoch


def test_bfloat16_products_keep_the_bits_too(text: Path, tmp_path: Path) -> None:
    states = []
    for world_size in (1, 2):
        run_dir = tmp_path / str(world_size)
        train(
            text,
            run_dir,
            world_size,
            precision={"dtype": "bf16"},
            optimization={"max_update": 5},
        )
        states.append(whole_state(run_dir))
    assert first_difference(*states, "state") == ""


def test_fsdp_goes_from_two_ranks_to_three_to_one_in_an_epoch_and_ends_like_one_process(
    text: Path, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "optimizer": {"name": "sgd", "lr": 0.3},
        "distributed": {"deterministic_elastic": False, "strategy": "fsdp"},
    }
    straight, run_dir, log = tmp_path / "straight", tmp_path / "run", tmp_path / "examples"
    train(text, straight, 1, optimization={"max_epoch": 1}, **sections)
    for world_size, last in ((2, 2), (3, 4), (1, 0)):
        limits = {"max_epoch": 1, "max_update": last}
        callback = {"test_count": {"file": str(log)}}
        train(text, run_dir, world_size, optimization=limits, callback=callback, **sections)
    seen = [int(line.split()[1]) for line in log.read_text().splitlines()]
    assert sum(seen) == 48
    states = [whole_state(straight), whole_state(run_dir)]
    assert states[0]["trainer"]["num_updates"] == len(seen) > 4
    for weights in ([s["model"] for s in states], [s["ema"]["model"] for s in states]):
        torch.testing.assert_close(*weights, rtol=0, atol=1e-6)
