"""Faults that other training systems have had, each as a test that it is not one of ours."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed.processes import run_in_processes
from test_trainer import empty_batch, make_batch, make_trainer, weights
from torch import Tensor
from toy_run import history, toy_config, write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.lr_schedulers.polynomial_decay import PolynomialDecay, PolynomialDecayConfig
from seqtrain.optim.precision import Precision, PrecisionConfig
from seqtrain.pipeline import load, train
from seqtrain.training.evaluator import Evaluator
from seqtrain.training.trainer import Trainer


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
    torch.testing.assert_close(once, often, rtol=1.3e-6, atol=0)


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
        pipeline.task_with_data(), pipeline.config.generation
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


def fp16_trainer(**settings: Any) -> Trainer:
    trainer = make_trainer(clip_norm=1.0)
    precision = Precision(PrecisionConfig(dtype="fp16", **settings), trainer.device)
    return replace(trainer, precision=precision)


def test_the_loss_scale_its_window_and_its_settings_survive_a_checkpoint() -> None:
    overflowing = make_batch(4, seed=2)
    overflowing.targets[0] = float("inf")
    batches = [make_batch(4), make_batch(4, seed=1), overflowing, make_batch(4, seed=3)]
    settings = {"init_scale": 64.0, "scale_window": 3}
    straight, first, second = (fp16_trainer(**settings) for _ in range(3))
    scales = [straight.train_step([batch]).loss_scale for batch in batches * 2]
    assert scales == [64.0, 64.0, 64.0, 32.0, 32.0, 32.0, 64.0, 32.0]
    resumed = [first.train_step([batch]).loss_scale for batch in batches[:3]]  # ends in the skip
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    rest = [*batches[3:], *batches]
    resumed += [second.train_step([batch]).loss_scale for batch in rest]
    assert resumed == scales
    assert second.precision.state_dict() == straight.precision.state_dict()
    torch.testing.assert_close(weights(second), weights(straight), rtol=0, atol=0)


def test_the_norm_under_a_loss_scale_is_that_of_the_mean_and_does_not_overflow() -> None:
    batch = make_batch(3)
    plain = make_trainer(clip_norm=1.0).train_step([batch]).grad_norm
    for count in (1, 64):  # scaled, the sum of the gradients is far beyond float16
        result = fp16_trainer(init_scale=2.0**24).train_step([batch] * count)
        assert result.applied
        torch.testing.assert_close(result.grad_norm, plain, rtol=1e-5, atol=0)
