import math

import pytest
import torch
from given_output import batch_of, build, check_gradients, loss_of, random
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext()
TARGETS = torch.tensor([[0.5, math.nan, -1.0], [0.0, 2.0, 0.1]], dtype=torch.float64)
NUM_THERE = 5
QUANTILES = [0.2, 0.7]


def _cost(loss: str, error: float) -> float:
    if loss == "mse":
        return error**2
    if loss == "mae":
        return abs(error)
    return error**2 / 2 if abs(error) <= 0.5 else 0.5 * (abs(error) - 0.25)


def _there(null_value: float | None = None) -> list[tuple[int, int]]:
    return [
        (row, column)
        for row in range(2)
        for column in range(3)
        if not math.isnan(TARGETS[row, column]) and TARGETS[row, column] != null_value
    ]


@pytest.mark.parametrize("null_value", [None, 0.0])
@pytest.mark.parametrize("name", ["mse", "mae", "huber"])
def test_the_loss_is_the_formula_over_targets_that_are_there(
    name: str, null_value: float | None
) -> None:
    torch.manual_seed(0)
    predictions = random(2, 3)
    criterion = build("regression", CONTEXT, loss=name, delta=0.5, null_value=null_value)
    loss = loss_of(criterion, batch_of(TARGETS, NUM_THERE), predictions)
    there = _there(null_value)
    errors = [float(predictions[place].detach() - TARGETS[place]) for place in there]
    expected = sum(_cost(name, error) for error in errors)
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    assert loss.num_targets == len(there)
    assert loss.metrics["mae"].compute() == pytest.approx(sum(map(abs, errors)) / len(there))
    assert loss.metrics["mse"].compute() == pytest.approx(sum(e * e for e in errors) / len(there))


def test_the_quantile_loss_is_the_mean_pinball_loss() -> None:
    torch.manual_seed(0)
    predictions = random(2, 3, 2)
    criterion = build("regression", CONTEXT, loss="quantile", quantiles=QUANTILES)
    loss = loss_of(criterion, batch_of(TARGETS, NUM_THERE), predictions)
    expected = 0.0
    for place in _there():
        for index, level in enumerate(QUANTILES):
            under = float(TARGETS[place] - predictions[(*place, index)].detach())
            expected += max(level * under, (level - 1) * under) / 2
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "quantile"])
def test_its_gradient_is_right_and_zero_where_the_target_is_missing(name: str) -> None:
    torch.manual_seed(0)
    criterion = build("regression", CONTEXT, loss=name, delta=0.5, quantiles=QUANTILES)
    batch = batch_of(TARGETS, NUM_THERE)
    predictions = random(2, 3, *([2] if name == "quantile" else []))
    check_gradients(lambda given: loss_of(criterion, batch, given).total, predictions)
    loss_of(criterion, batch, predictions).total.backward()
    assert predictions.grad is not None
    assert not predictions.grad[0, 1].any()
    assert predictions.grad[0, 0].any()


def test_an_empty_batch_costs_nothing_whatever_its_row_holds() -> None:
    predictions = random(1, 3)
    loss = loss_of(build("regression", CONTEXT), batch_of(TARGETS[1:], 0), predictions)
    loss.total.backward()
    assert loss.total.item() == 0
    assert loss.num_targets == 0
    assert predictions.grad is not None
    assert not predictions.grad.any()


def test_predictions_of_another_shape_are_refused_not_broadcast() -> None:
    with pytest.raises(ConfigError, match=r"predicts \[2, 1\].* \[2, 3\]"):
        loss_of(build("regression", CONTEXT), batch_of(TARGETS, NUM_THERE), random(2, 1))


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"loss": "rmse"}, "loss"),
        ({"delta": 0.0}, "delta"),
        ({"quantiles": []}, "quantiles"),
        ({"quantiles": [1.0]}, "quantiles"),
    ],
)
def test_impossible_settings_are_refused_by_name(fields: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"criterion\.{key}"):
        build("regression", CONTEXT, **fields)


def test_half_precision_predictions_are_compared_in_single_precision() -> None:
    predictions = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    targets: Tensor = TARGETS.float()
    loss = loss_of(build("regression", CONTEXT), batch_of(targets, NUM_THERE), predictions)
    assert loss.total.dtype == torch.float32
