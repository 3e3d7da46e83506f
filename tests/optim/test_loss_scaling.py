from dataclasses import replace
from typing import Any

import pytest
import torch
from training.test_trainer import make_batch, make_trainer, weights

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError, NumericError
from seqtrain.optim.precision import Precision, PrecisionConfig
from seqtrain.training.trainer import Trainer


def fp16_trainer(**settings: Any) -> Trainer:
    trainer = make_trainer(clip_norm=1.0)
    precision = Precision(PrecisionConfig(dtype="fp16", **settings), torch.device("cpu"))
    return replace(trainer, precision=precision)


def overflowing_batch() -> Batch:
    batch = make_batch(4)
    batch.targets[2] = float("inf")
    return batch


def test_a_loss_scale_changes_no_update() -> None:
    plain, scaled = fp16_trainer(init_scale=1.0), fp16_trainer(init_scale=2.0**12)
    for seed in range(5):
        first, second = (t.train_step([make_batch(4, seed)]) for t in (plain, scaled))
        assert float(first.grad_norm) == float(second.grad_norm)
        assert float(first.metrics["loss"].sums[0]) == float(second.metrics["loss"].sums[0])
    torch.testing.assert_close(weights(plain), weights(scaled), rtol=0, atol=0)


def test_an_overflow_halves_the_scale_and_touches_neither_parameters_nor_moments() -> None:
    trainer = fp16_trainer(init_scale=8.0)
    trainer.train_step([make_batch(4)])
    before = weights(trainer)
    moments = trainer.optimizer.state_dict()["slots"]["line.weight"]["exp_avg"].clone()
    result = trainer.train_step([overflowing_batch()])
    assert not result.applied
    assert (result.loss_scale, trainer.precision.loss_scale) == (8.0, 4.0)
    torch.testing.assert_close(weights(trainer), before, rtol=0, atol=0)
    after = trainer.optimizer.state_dict()["slots"]["line.weight"]["exp_avg"]
    torch.testing.assert_close(after, moments, rtol=0, atol=0)
    assert trainer.train_step([make_batch(4)]).applied


def test_the_scale_doubles_after_a_window_of_good_updates_in_a_row() -> None:
    trainer = fp16_trainer(init_scale=8.0, scale_window=3)
    batches = [make_batch(4)] * 2 + [overflowing_batch()] + [make_batch(4)] * 4
    scales = [trainer.train_step([batch]).loss_scale for batch in batches]
    assert scales == [8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 8.0]


def test_a_scale_that_can_fall_no_further_ends_the_run_with_its_figures() -> None:
    trainer = fp16_trainer(init_scale=4.0, min_scale=1.0)
    for _ in range(2):
        assert not trainer.train_step([overflowing_batch()]).applied
    with pytest.raises(NumericError, match=r"min_scale is 1 \(norm nan|inf, lr 0\.1\).*bf16"):
        trainer.train_step([overflowing_batch()])


def test_a_float16_overflow_in_the_backward_pass_is_found_and_mended_by_the_scale() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 4)
    precision = Precision(PrecisionConfig(dtype="fp16"), torch.device("cpu"))

    def gradient() -> torch.Tensor:
        layer.zero_grad()
        with precision.autocast():
            output = layer(torch.ones(2, 4))
        assert output.dtype == torch.float16
        precision.scaled((output.float() * 8).sum()).backward()  # 8 * 2 ** 15 is above 65504
        assert layer.weight.grad is not None
        return layer.weight.grad * precision.unscaling(torch.tensor(1.0))

    updates = 0
    while not torch.isfinite(found := gradient()).all():
        precision.report(False, float(found.norm()), 0.1)
        updates += 1
    assert updates > 0
    torch.testing.assert_close(found, torch.full((4, 4), 16.0))


def test_without_float16_the_loss_is_not_scaled() -> None:
    for dtype in ("fp32", "bf16"):
        precision = Precision(PrecisionConfig(dtype=dtype), torch.device("cpu"))
        loss = torch.ones(())
        assert precision.scaled(loss) is loss
        assert precision.unscaling(loss) is loss
        assert precision.loss_scale is None
        assert precision.state_dict() == {}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"dtype": "fp8"}, "precision.dtype"),
        ({"parameters": "fp16"}, "precision.parameters"),
        ({"parameters": "bf16"}, "needs precision.dtype=bf16"),
        ({"init_scale": 0.0}, "precision.init_scale"),
        ({"min_scale": 0.0}, "precision.min_scale"),
        ({"scale_window": 0}, "precision.scale_window"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        PrecisionConfig(**settings)
