"""What is measured of forecasts: errors of many kinds, as sums that merge."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.metrics import Mean, Metric, Metrics, Percent

SMALLEST_TARGET = 5e-5
"""Targets nearer to 0 than this do not count in MAPE."""


class RootMean(Mean):
    """Root of total / weight: the root of the mean square, not a mean of roots."""

    @override
    def compute(self) -> float:
        return math.sqrt(super().compute())


class RSquared(Metric):
    """Mean over channels of 1 - squared error / squared distance of the targets from their mean.

    Argument: by channel the number of targets, their sum, the sum of their squares and the sum of
    squared errors, one vector [4 * channels]. A channel without two different targets is left out.
    """

    @override
    def compute(self) -> float:
        count, total, squares, errors = self.sums.view(4, -1)
        spread = squares - total.square() / count
        usable = (count > 1) & (spread > 0)
        return float((1.0 - errors / spread)[usable].mean())


class Correlation(Metric):
    """Mean over channels of Pearson's correlation of predictions and targets.

    Argument: by channel the number of targets, the sums of targets and of predictions, of the
    squares of both and of their products, one vector [6 * channels]. A channel in which either
    never changes is left out.
    """

    @override
    def compute(self) -> float:
        count, y, p, yy, pp, yp = self.sums.view(6, -1)
        spreads = (yy - y.square() / count) * (pp - p.square() / count)
        usable = (count > 1) & (spreads > 0)
        return float(((yp - y * p / count) / spreads.sqrt())[usable].mean())


def point_metrics(
    predictions: Tensor, targets: Tensor, naive_errors: Tensor, centers: Tensor
) -> Metrics:
    """Returns what is measured of single forecasts; targets that are nan do not count.

    mae, mse, rmse; in percent mape (of targets that are not about 0), wape (sum of absolute errors
    / sum of absolute targets) and smape (2 * error / (prediction + target), absolute values);
    mase; r2 and correlation, means over channels.

    Args:
        predictions: [batch, time, channels].
        targets: The same shape.
        naive_errors: Mean absolute error of the seasonal naive forecast on the training rows, what
            mase is relative to (Hyndman and Koehler 2006), [channels].
        centers: About the means of the channels, which sums are taken relative to, [channels].
    """
    is_there = targets.isfinite()
    count = is_there.sum()
    targets = targets.where(is_there, 0.0)
    predictions = predictions.detach().to(targets.dtype).where(is_there, 0.0)
    found = _errors(predictions, targets, is_there, count)
    scaled = (predictions - targets).abs() / naive_errors.to(targets.dtype)
    found["mase"] = Mean(_total(scaled), count)
    y = (targets - centers).where(is_there, 0.0).double()
    p = (predictions - centers).where(is_there, 0.0).double()
    by_channel = is_there.sum(dim=(0, 1)).double()
    y_sum, yy = _by_channel(y), _by_channel(y * y)
    found["r2"] = RSquared(torch.cat([by_channel, y_sum, yy, _by_channel((p - y).square())]))
    found["correlation"] = Correlation(
        torch.cat([by_channel, y_sum, _by_channel(p), yy, _by_channel(p * p), _by_channel(y * p)])
    )
    return Metrics(found)


def error_metrics(predictions: Tensor, targets: Tensor) -> Metrics:
    """Returns those of `point_metrics` that depend on the units: mae, mse, rmse, mape, wape, smape.

    Args:
        predictions: [batch, time, channels].
        targets: The same shape; nan does not count.
    """
    is_there = targets.isfinite()
    targets = targets.where(is_there, 0.0)
    predictions = predictions.detach().to(targets.dtype).where(is_there, 0.0)
    return Metrics(_errors(predictions, targets, is_there, is_there.sum()))


def quantile_metrics(quantiles: Tensor, targets: Tensor, levels: Sequence[float]) -> Metrics:
    """Returns crps, approximated from quantiles, and the coverage of the outermost two.

    The continuous ranked probability score is twice the integral of the pinball loss over all
    levels (Gneiting and Ranjan 2011); here it is twice the mean over the levels that there are.

    Args:
        quantiles: [batch, time, channels, levels].
        targets: [batch, time, channels]; nan does not count.
        levels: Rising, between 0 and 1.
    """
    is_there = targets.isfinite()
    count = is_there.sum()
    targets = targets.where(is_there, 0.0)
    quantiles = quantiles.detach().to(targets.dtype)
    at = quantiles.new_tensor(list(levels))
    errors = quantiles - targets.unsqueeze(-1)
    pinball = torch.maximum(-at * errors, (1.0 - at) * errors).mean(dim=-1)
    is_inside = (errors[..., 0] <= 0) & (errors[..., -1] >= 0) & is_there
    return Metrics(
        {
            "crps": Mean(2.0 * _total(pinball.where(is_there, 0.0)), count),
            "coverage": Percent(is_inside.sum(), count),
        }
    )


def _errors(
    predictions: Tensor, targets: Tensor, is_there: Tensor, count: Tensor
) -> dict[str, Metric]:
    """Predictions and targets are 0 where nothing is there."""
    errors = (predictions - targets).abs()
    sizes = targets.abs()
    absolute, squared = _total(errors), _total(errors.square())
    is_usable = is_there & (sizes >= SMALLEST_TARGET)
    relative = (errors / sizes).where(is_usable, 0.0)
    both = predictions.abs() + sizes
    symmetric = (2.0 * errors / both).where(both > 0, 0.0)
    return {
        "mae": Mean(absolute, count),
        "mse": Mean(squared, count),
        "rmse": RootMean(squared, count),
        "mape": Percent(_total(relative), is_usable.sum()),
        "wape": Percent(absolute, _total(sizes)),
        "smape": Percent(_total(symmetric), count),
    }


def _total(values: Tensor) -> Tensor:
    return values.sum(dtype=torch.float64)


def _by_channel(values: Tensor) -> Tensor:
    return values.sum(dim=(0, 1), dtype=torch.float64)
