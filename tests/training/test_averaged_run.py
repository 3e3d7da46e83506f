"""Runs that keep an average of the weights: what is evaluated, and with which weights."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import history, toy_config, write_toy_text

from seqtrain.checkpoint.average import average_checkpoints
from seqtrain.checkpoint.load import read_checkpoint, resolve
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import CheckpointError
from seqtrain.pipeline import load, train
from seqtrain.training.build import build_run
from seqtrain.training.evaluator import Evaluator
from seqtrain.training.run_config import RunConfig

EMA = {"kind": "ema", "decay": 0.9, "ramp_decay": False}


def loss_on(run_dir: Path, split: str, weights: dict[str, Any]) -> float:
    """The loss with given weights, by the task and model of a run's best checkpoint."""
    pipeline = load(run_dir, device="cpu")
    pipeline.model.load_state_dict(weights)
    evaluator: Evaluator = pipeline._evaluator(
        pipeline.task_with_data(), pipeline.config.generation
    )
    return evaluator.losses(split)["loss"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("averaged")
    config = toy_config(write_toy_text(folder / "text"), folder / "run", ema=EMA)
    train(config)
    return folder / "run"


def test_validation_and_the_last_test_use_the_average_of_the_best_checkpoint(run_dir: Path) -> None:
    best = resolve(run_dir)
    parts = read_checkpoint(best).parts
    averaged, trained = parts["ema"]["model"], parts["model"]
    assert any(not torch.equal(averaged[name], trained[name]) for name in trained)
    rows = [row for row in history(run_dir) if row["event"] == "valid"]
    logged = {row["num_updates"]: row["valid_loss"] for row in rows}
    found = loss_on(run_dir, "valid", averaged)
    assert found == pytest.approx(logged[parts["trainer"]["num_updates"]], rel=1e-6)
    assert found != pytest.approx(loss_on(run_dir, "valid", trained), rel=1e-4)
    test_loss = json.loads((run_dir / "test_metrics.json").read_text())["test_loss"]
    assert loss_on(run_dir, "test", averaged) == pytest.approx(test_loss, rel=1e-6)


def test_a_loaded_pipeline_holds_the_average(run_dir: Path) -> None:
    parts = read_checkpoint(resolve(run_dir)).parts
    held = load(run_dir, device="cpu").model.state_dict()
    torch.testing.assert_close(held, parts["ema"]["model"], rtol=0, atol=0)


def test_the_average_does_not_change_how_the_weights_are_trained(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    sections = {"optimization": {"max_update": 5}, "validation": {"splits": []}}
    states = []
    for name, section in (("plain", {}), ("averaged", EMA)):
        train(toy_config(text, tmp_path / name, ema=section, **sections))
        states.append(read_checkpoint(resolve(tmp_path / name)).parts["model"])
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_an_average_turned_on_in_mid_run_begins_with_the_checkpoints_weights_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_toy_text(tmp_path / "text")
    config = toy_config(text, tmp_path / "run", optimization={"max_update": 4})
    train(config)
    weights = read_checkpoint(resolve(tmp_path / "run")).parts["model"]
    config = toy_config(
        text,
        tmp_path / "run",
        optimization={"max_update": 5},
        ema=EMA | {"decay": 0.75},
        log_writer={"console": {}},
    )
    train(config)
    said = capsys.readouterr()
    assert "holds no average of the weights: ema.kind=ema begins" in said.out + said.err
    parts = read_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000000005").parts
    assert parts["ema"]["num_averaged"] == 2
    for name, trained in parts["model"].items():
        expected = 0.75 * weights[name] + 0.25 * trained
        torch.testing.assert_close(parts["ema"]["model"][name], expected)


def test_a_folder_of_averaged_weights_is_not_continued_but_begun_from(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    limits = {"optimization": {"max_update": 2}, "validation": {"splits": []}}
    train(toy_config(text, tmp_path / "run", **limits))
    average_checkpoints([resolve(tmp_path / "run")], tmp_path / "other" / "checkpoints")
    with pytest.raises(CheckpointError, match=r"weights only.*checkpoint\.init_from"):
        train(toy_config(text, tmp_path / "other", **limits))
    begun = {"init_from": str(tmp_path / "other")}
    result = train(toy_config(text, tmp_path / "third", checkpoint=begun, **limits))
    assert result.num_updates == 2


def test_weights_from_before_the_average_began_are_evaluated_as_they_are(tmp_path: Path) -> None:
    half = {"dtype": "bf16", "parameters": "bf16"}
    text = write_toy_text(tmp_path / "text")
    config = toy_config(text, tmp_path / "run", precision=half, ema=EMA | {"start_update": 2})
    run = build_run(RunConfig.parse(config), Collectives(), torch.device("cpu"))
    states = []
    for _ in zip(range(3), run.trainer.train_epoch(run.iterator), strict=False):
        states.append(copy.deepcopy(run.trainer.state_dict()))
    assert ["ema" in state for state in states] == [False, True, True]
    for state in states:
        run.trainer.load_weights(state)
        expected = state.get("ema", state)["model"]
        with run.trainer.evaluation_weights():
            for name, tensor in run.trainer.model.state_dict().items():
                torch.testing.assert_close(
                    tensor, expected[name].to(tensor.dtype), rtol=0, atol=0, msg=name
                )
