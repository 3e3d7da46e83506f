"""Errors of predicted numbers: squared, absolute, Huber's, or of quantiles."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import ModelOutput
from seqtrain.modules.fused_loss import loss_dtype

LOSSES = ("mse", "mae", "huber", "quantile")


@dataclass(kw_only=True)
class RegressionConfig(CriterionConfig):
    """Error of predicted numbers; missing targets do not count."""

    loss: str = "mse"
    """mse: squared error; mae: absolute error; huber: squared up to delta, linear beyond;
    quantile: pinball loss, for models that predict quantiles."""
    delta: float = 1.0
    """Where huber becomes linear."""
    quantiles: list[float] = field(default_factory=lambda: [0.1, 0.5, 0.9])
    """Levels of the last dimension of what the model predicts, with loss=quantile."""
    null_value: float | None = None
    """Target that means missing, besides nan, which always does."""

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ConfigError(
                f"criterion.loss must be one of {', '.join(LOSSES)}, got {self.loss!r}."
            )
        if not (self.delta > 0 and math.isfinite(self.delta)):
            raise ConfigError(f"criterion.delta must be positive, got {self.delta}.")
        if not self.quantiles or not all(0.0 < level < 1.0 for level in self.quantiles):
            raise ConfigError(
                f"criterion.quantiles must be levels between 0 and 1, got {self.quantiles}."
            )


@register_criterion("regression", config=RegressionConfig)
class Regression(Criterion):
    """Sum of errors over the targets that are there.

    With the error e = prediction - target, a target costs e ** 2 (mse), |e| (mae), or
    e ** 2 / 2 where |e| <= delta and delta * (|e| - delta / 2) elsewhere (huber; Huber 1964). With
    quantile it costs the mean over levels q of max(-q * e, (1 - q) * e) (Koenker and Bassett 1978),
    where the predictions have one dimension more than the targets.

    `batch.num_targets` counts the targets that are not nan. Only where `null_value` leaves out
    further ones, they are counted here. The metrics "mae" and "mse" are of the predictions
    themselves, or of the quantile next to one half.
    """

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        output: ModelOutput = model(**batch.inputs)
        predictions = output.logits
        predictions = predictions.to(loss_dtype(predictions.dtype))
        targets = batch.targets.to(predictions.dtype)
        is_there = self._is_there(targets, batch)
        # Not a product with the mask: nan times 0 is nan, in gradients too.
        targets = targets.where(is_there, 0.0)
        losses, errors = self._losses(predictions, targets)
        total = losses.where(is_there, 0.0).sum()
        errors = errors.detach().where(is_there, 0.0)
        num_targets = batch.num_targets
        if self.config.null_value is not None and num_targets:
            num_targets = int(is_there.sum())
        return LossOutput(
            total,
            num_targets,
            Metrics(
                {
                    "loss": Mean(total, num_targets),
                    "mae": Mean(errors.abs().sum(), num_targets),
                    "mse": Mean(errors.square().sum(), num_targets),
                }
            ),
            output,
        )

    def _is_there(self, targets: Tensor, batch: Batch) -> Tensor:
        is_there = targets.isnan().logical_not()
        if self.config.null_value is not None:
            is_there &= targets.ne(self.config.null_value)
        return is_there if batch.num_targets else torch.zeros_like(is_there)

    def _losses(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the loss and the plain error of each target, both in the targets' shape."""
        config = self.config
        if config.loss == "quantile":
            return _quantile_losses(predictions, targets, config.quantiles)
        _check_shapes(predictions, targets.shape, "its targets")
        errors = predictions - targets
        if config.loss == "mse":
            return errors.square(), errors
        if config.loss == "mae":
            return errors.abs(), errors
        return F.huber_loss(predictions, targets, reduction="none", delta=config.delta), errors


def _quantile_losses(
    predictions: Tensor, targets: Tensor, quantiles: list[float]
) -> tuple[Tensor, Tensor]:
    shape = torch.Size([*targets.shape, len(quantiles)])
    _check_shapes(predictions, shape, f"its targets and criterion.quantiles ({len(quantiles)})")
    levels = predictions.new_tensor(quantiles)
    errors = predictions - targets.unsqueeze(-1)
    losses = torch.maximum(-levels * errors, (1.0 - levels) * errors).mean(dim=-1)
    middle = min(range(len(quantiles)), key=lambda index: abs(quantiles[index] - 0.5))
    return losses, errors[..., middle]


def _check_shapes(predictions: Tensor, expected: torch.Size, by: str) -> None:
    if predictions.shape != expected:
        raise ConfigError(
            f"criterion=regression: the model predicts {list(predictions.shape)}, but {by} ask "
            f"for {list(expected)}. Choose another model or criterion.loss."
        )
