import math

import numpy as np
import pytest
import torch
from torch import Tensor

from seqtrain.metrics import Metrics
from seqtrain.tasks.forecast_metrics import error_metrics, point_metrics, quantile_metrics

NAIVE = torch.tensor([0.5, 2.0, 1.0])
CENTERS = torch.tensor([0.1, -0.2, 0.0])
LEVELS = [0.1, 0.5, 0.9]


def examples(missing: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    targets = torch.randn(40, 5, 3, generator=generator)
    predictions = targets + 0.5 * torch.randn(40, 5, 3, generator=generator)
    targets[3, 2, 1] = 1e-5  # too near to 0 for MAPE
    if missing:
        targets[torch.rand(40, 5, 3, generator=generator) < 0.2] = torch.nan
    return predictions, targets


def measured(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    return point_metrics(predictions, targets, NAIVE, CENTERS).compute()


def plainly(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """The definitions, over a flat list of what is there, and channel by channel."""
    p, y = predictions.double().numpy(), targets.double().numpy()
    there = ~np.isnan(y)
    naive = np.broadcast_to(NAIVE.double().numpy(), y.shape)[there]
    flat_p, flat_y = p[there], y[there]
    errors = np.abs(flat_p - flat_y)
    usable = np.abs(flat_y) >= 5e-5
    found = {
        "mae": errors.mean(),
        "mse": (errors**2).mean(),
        "rmse": math.sqrt((errors**2).mean()),
        "mape": 100 * (errors[usable] / np.abs(flat_y[usable])).mean(),
        "wape": 100 * errors.sum() / np.abs(flat_y).sum(),
        "smape": 100 * (2 * errors / (np.abs(flat_p) + np.abs(flat_y))).mean(),
        "mase": (errors / naive).mean(),
    }
    columns = [(p[..., c][there[..., c]], y[..., c][there[..., c]]) for c in range(3)]
    found["r2"] = np.mean(
        [1 - ((a - b) ** 2).sum() / ((b - b.mean()) ** 2).sum() for a, b in columns]
    )
    found["correlation"] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in columns])
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("missing", [False, True])
def test_every_metric_is_what_its_definition_says(missing: bool) -> None:
    predictions, targets = examples(missing)
    assert measured(predictions, targets) == pytest.approx(plainly(predictions, targets), rel=1e-5)


def test_the_values_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predictions, targets = examples(missing=False)
    found = measured(predictions, targets)
    y, p = targets.flatten(0, 1), predictions.flatten(0, 1)
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(y, p), rel=1e-5)
    assert found["mse"] == pytest.approx(sklearn.mean_squared_error(y, p), rel=1e-5)
    assert found["r2"] == pytest.approx(sklearn.r2_score(y, p), rel=1e-5)
    quantiles = torch.stack([predictions - 1, predictions, predictions + 1], dim=-1)
    pinball = [
        sklearn.mean_pinball_loss(y, quantiles[..., i].flatten(0, 1), alpha=level)
        for i, level in enumerate(LEVELS)
    ]
    crps = quantile_metrics(quantiles, targets, LEVELS).compute()["crps"]
    assert crps == pytest.approx(2 * float(np.mean(pinball)), rel=1e-5)


@pytest.mark.slow
def test_the_values_are_those_of_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional")
    predictions, targets = examples(missing=False)
    found = measured(predictions, targets)
    flat = (predictions.flatten(), targets.flatten())
    smape = functional.symmetric_mean_absolute_percentage_error(*flat)
    wape = functional.weighted_mean_absolute_percentage_error(*flat)
    assert found["smape"] == pytest.approx(100 * float(smape), rel=1e-5)
    assert found["wape"] == pytest.approx(100 * float(wape), rel=1e-5)
    by_column = functional.pearson_corrcoef(predictions.flatten(0, 1), targets.flatten(0, 1))
    assert found["correlation"] == pytest.approx(float(by_column.mean()), rel=1e-5)


@pytest.mark.parametrize("missing", [False, True])
def test_any_split_into_batches_gives_the_same_values(missing: bool) -> None:
    predictions, targets = examples(missing)
    together = point_metrics(predictions, targets, NAIVE, CENTERS)
    for cuts in ([1, 39], [7, 20, 13]):
        merged = Metrics()
        for p, y in zip(predictions.split(cuts), targets.split(cuts), strict=True):
            merged.merge(point_metrics(p, y, NAIVE, CENTERS))
        assert list(merged) == list(together)
        assert merged.compute() == pytest.approx(together.compute(), rel=1e-9)


def test_what_is_missing_changes_nothing() -> None:
    predictions, targets = examples(missing=True)
    other = torch.where(targets.isnan(), 1e6, predictions)
    assert measured(other, targets) == measured(predictions, targets)
    quantiles = torch.stack([predictions - 1, predictions, predictions + 1], dim=-1)
    others = torch.stack([other - 1, other, other + 1], dim=-1)
    values = [quantile_metrics(q, targets, LEVELS).compute() for q in (quantiles, others)]
    assert values[0] == values[1]


def test_nothing_to_measure_gives_nan_and_adds_nothing() -> None:
    predictions, targets = examples(missing=False)
    nothing = torch.full_like(targets[:1], torch.nan)
    empty = point_metrics(predictions[:1], nothing, NAIVE, CENTERS)
    assert all(math.isnan(value) for value in empty.compute().values())
    together = point_metrics(predictions, targets, NAIVE, CENTERS)
    before = together.compute()
    together.merge(empty)
    assert together.compute() == before


def test_a_channel_that_never_changes_is_left_out_of_r2_and_correlation() -> None:
    predictions, targets = examples(missing=False)
    constant = torch.full_like(targets[..., :1], 4.0)
    more = (torch.cat([predictions, constant + 1], 2), torch.cat([targets, constant], 2))
    naive, centers = torch.cat([NAIVE, NAIVE[:1]]), torch.cat([CENTERS, torch.tensor([4.0])])
    found = point_metrics(*more, naive, centers).compute()
    expected = measured(predictions, targets)
    for name in ("r2", "correlation"):
        assert found[name] == pytest.approx(expected[name], rel=1e-9)


def test_coverage_counts_targets_between_the_outermost_quantiles() -> None:
    targets = torch.tensor([0.0, 1.0, 2.0, 3.0, torch.nan]).view(1, 5, 1)
    quantiles = torch.tensor([0.5, 1.0, 2.5]).expand(1, 5, 1, 3)
    assert quantile_metrics(quantiles, targets, LEVELS).compute()["coverage"] == 50.0


def test_errors_in_other_units_are_those_of_the_converted_values() -> None:
    predictions, targets = examples(missing=True)
    scale, shift = torch.tensor([2.0, 3.0, 0.5]), torch.tensor([10.0, 0.0, -5.0])
    converted = [values * scale + shift for values in (predictions, targets)]
    found = error_metrics(*converted).compute()
    expected = plainly(*converted)
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-4)
