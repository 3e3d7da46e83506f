import math

import pytest
import torch
from given_output import batch_of, build, check_gradients, loss_of, random
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqtrain.criteria.regression import RegressionConfig
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
        ({"horizon_curriculum_updates": -1}, "horizon_curriculum_updates"),
        ({"horizon_curriculum_start": 0}, "horizon_curriculum_start"),
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


def horizons(last: int, horizon: int, **fields: int) -> list[int]:
    config = RegressionConfig(**{f"horizon_curriculum_{k}": v for k, v in fields.items()})
    return [config.horizon_at(n, horizon) for n in range(1, last + 1)]


def test_the_horizon_grows_in_equal_parts_of_the_curriculum() -> None:
    assert horizons(10, 4, updates=8) == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]
    assert horizons(8, 4, updates=6, start=2) == [2, 2, 3, 3, 4, 4, 4, 4]
    assert horizons(6, 5, updates=3, step=2) == [1, 3, 5, 5, 5, 5]
    assert horizons(6, 6, updates=3, step=4) == [1, 5, 6, 6, 6, 6]
    assert horizons(3, 4, updates=2, start=9) == [4, 4, 4]
    assert horizons(3, 4) == [4, 4, 4]


@given(
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 5), st.integers(0, 9), st.integers(1, 60)
)
def test_the_curriculum_of_basicts_is_one_of_these(
    num_lengths: int, every: int, step: int, after: int, update: int
) -> None:
    horizon = num_lengths * step
    found = horizons(
        update, horizon, updates=num_lengths * every, start=step, step=step, after=after
    )
    grown = ((update - 1 - after) // every + 1) * step
    assert found[-1] == (horizon if update <= after else min(grown, horizon))


@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 45), st.integers(1, 50))
def test_the_horizon_never_shrinks_and_is_whole_after_the_curriculum(
    horizon: int, updates: int, start: int, step: int
) -> None:
    found = horizons(updates + 1, horizon, updates=updates, start=start, step=step)
    assert found == sorted(found)
    assert found[0] == min(start, horizon)
    assert found[-1] == horizon


def test_in_training_only_the_first_steps_count_and_in_evaluation_all() -> None:
    torch.manual_seed(0)
    predictions = random(2, 3)
    fields = {"horizon_curriculum_updates": 4, "horizon_curriculum_start": 2}
    criterion = build("regression", CONTEXT, loss="mae", **fields)
    criterion.update_number = 2
    batch = batch_of(TARGETS, NUM_THERE)
    loss = loss_of(criterion, batch, predictions)
    first_steps = [place for place in _there() if place[1] < 2]
    expected = sum(
        abs(float(predictions[place].detach() - TARGETS[place])) for place in first_steps
    )
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    assert loss.num_targets == len(first_steps) == 3
    assert loss.metrics["mae"].compute() == pytest.approx(expected / 3)
    assert loss.metrics["horizon"].compute() == 2
    loss.total.backward()
    assert predictions.grad is not None
    assert not predictions.grad[:, 2].any()
    criterion.eval()
    whole = loss_of(criterion, batch, predictions)
    plain = loss_of(build("regression", CONTEXT, loss="mae"), batch, predictions)
    assert whole.total.item() == plain.total.item()
    assert whole.num_targets == NUM_THERE
    assert whole.metrics["horizon"].compute() == 3


def test_an_empty_batch_counts_nothing_of_the_curriculum() -> None:
    criterion = build("regression", CONTEXT, horizon_curriculum_updates=4)
    loss = loss_of(criterion, batch_of(TARGETS[1:], 0), random(1, 3))
    assert (loss.total.item(), loss.num_targets) == (0, 0)
    assert math.isnan(loss.metrics["horizon"].compute())


def test_a_curriculum_over_targets_without_a_horizon_is_refused() -> None:
    criterion = build("regression", CONTEXT, horizon_curriculum_updates=4)
    with pytest.raises(ConfigError, match=r"horizon_curriculum_updates needs targets \[batch, hor"):
        loss_of(criterion, batch_of(torch.ones(2), 2), random(2))
