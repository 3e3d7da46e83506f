"""Faults that other training systems have had, each as a test that it is not one of ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from distributed.processes import run_in_processes
from test_trainer import empty_batch, make_batch, make_trainer
from torch import Tensor
from toy_run import history, toy_config, write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.lr_schedulers.polynomial_decay import PolynomialDecay, PolynomialDecayConfig
from seqtrain.pipeline import load, train
from seqtrain.training.evaluator import Evaluator


def gradient(micro_batches: list[Any]) -> Tensor:
    trainer = make_trainer()
    trainer.compute_gradients(micro_batches)
    found = trainer.model.get_parameter("line.weight").grad
    assert found is not None
    return found


def test_an_empty_last_micro_batch_leaves_the_earlier_ones_their_weight() -> None:
    batches = [make_batch(3, seed=1), make_batch(5, seed=2)]
    torch.testing.assert_close(
        gradient([*batches, empty_batch()]), gradient(batches), rtol=0, atol=0
    )
    result = make_trainer().train_step([*batches, empty_batch()])
    assert float(result.counts.num_targets) == 8


def test_accumulating_the_same_batch_n_times_gives_the_gradient_of_once() -> None:
    batch = make_batch(3)
    torch.testing.assert_close(gradient([batch] * 4), gradient([batch]))


def test_the_gradient_norm_is_that_of_the_mean_however_many_targets_there_are() -> None:
    batch = make_batch(3)
    once, often = (make_trainer().train_step([batch] * count).grad_norm for count in (1, 64))
    torch.testing.assert_close(once, often)


def exchange(collectives: Collectives) -> list[Any]:
    return collectives.gather_json(str(collectives.rank) * 100_000)


def test_processes_may_exchange_more_than_16_kib() -> None:
    for received in run_in_processes(exchange, 2):
        assert received == ["0" * 100_000, "1" * 100_000]


def test_validation_takes_every_example_once_and_none_twice(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text", num_valid=9)
    train(toy_config(text, tmp_path / "run", optimization={"max_update": 1}))
    pipeline = load(tmp_path / "run", device="cpu")
    rows: list[int] = []
    pipeline.model.register_forward_hook(
        lambda _module, _args, inputs, _output: rows.append(len(inputs["source_tokens"])),
        with_kwargs=True,
    )
    evaluator: Evaluator = pipeline._evaluator(
        pipeline._task_with_data(), pipeline.config.generation
    )
    evaluator.losses("valid")
    assert len(rows) > 1
    assert sum(rows) == 9


def test_the_last_update_is_made_with_its_own_rate_validated_and_saved(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")
    schedule = {"min_lr": 1e-4}
    config = toy_config(
        text,
        tmp_path / "run",
        optimization={"max_update": 8, "max_epoch": 0},
        validation={"validate_interval_updates": 4},
        checkpoint={"save_interval_updates": 4},
        logging={"interval": 1},
    )
    config["lr_scheduler"] = {"name": "polynomial_decay", **schedule}
    assert train(config).num_updates == 8
    rows = history(tmp_path / "run")
    assert [row["num_updates"] for row in rows if row["event"] == "valid"] == [4, 8]
    assert (tmp_path / "run/checkpoints/step-0000000008").is_dir()
    rates = [row["lr"] for row in rows if row["event"] == "train"]
    scheduler = PolynomialDecay(PolynomialDecayConfig(**schedule), 0.01, 8)
    assert rates == pytest.approx([scheduler.lr_at(update) for update in range(1, 9)])


def rates_on_plateau(tmp_path: Path, **validation: Any) -> list[float]:
    config = toy_config(
        write_toy_text(tmp_path / "text"),
        tmp_path / "run",
        optimization={"max_update": 6, "max_epoch": 0},
        validation=validation,
        logging={"interval": 1},
    )
    # No progress is ever large enough, so that every validation but the first lowers the rate.
    config["lr_scheduler"] = {"name": "reduce_lr_on_plateau", "threshold": 10.0, "factor": 0.5}
    train(config)
    return [row["lr"] for row in history(tmp_path / "run") if row["event"] == "train"]


def test_a_plateau_schedule_gets_the_value_of_every_validation(tmp_path: Path) -> None:
    rates = rates_on_plateau(tmp_path, validate_interval_updates=2)
    assert rates == pytest.approx([0.01] * 4 + [0.005] * 2)


def test_a_plateau_schedule_without_validation_keeps_its_rate(tmp_path: Path) -> None:
    assert rates_on_plateau(tmp_path, splits=[]) == pytest.approx([0.01] * 6)
