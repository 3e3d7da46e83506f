"""Errors of predicted numbers: squared, absolute, Huber's, or of quantiles."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.target_kinds import NUMBERS
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import ModelOutput
from seqtrain.modules.fused_loss import loss_dtype
from seqtrain.modules.update_number import FollowsUpdates
from seqtrain.option_checks import require_choice, require_range

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
    horizon_curriculum_updates: int = 0
    """Updates in which the part of the horizon that counts in training grows to the whole; 0: all
    of it counts from the first update on."""
    horizon_curriculum_start: int = 1
    """Steps of the horizon that count at the beginning of the curriculum."""
    horizon_curriculum_step: int = 1
    """Steps by which it grows at once."""
    horizon_curriculum_after: int = 0
    """Updates with the whole horizon before the curriculum begins."""

    def __post_init__(self) -> None:
        require_choice("criterion.loss", self.loss, LOSSES)
        require_range("criterion.delta", self.delta, above=0)
        if not self.quantiles or not all(0.0 < level < 1.0 for level in self.quantiles):
            raise ConfigError(
                f"criterion.quantiles must be levels between 0 and 1, got {self.quantiles}."
            )
        for key, least in (("updates", 0), ("start", 1), ("step", 1), ("after", 0)):
            value = getattr(self, f"horizon_curriculum_{key}")
            require_range(f"criterion.horizon_curriculum_{key}", value, least=least)

    def horizon_at(self, update_number: int, horizon: int) -> int:
        """Returns how many steps of the horizon count in an update; the first update is 1.

        The curriculum is divided equally among the lengths that it goes through. After it, and
        before, the whole horizon counts.
        """
        start, step = self.horizon_curriculum_start, self.horizon_curriculum_step
        done = update_number - 1 - self.horizon_curriculum_after
        if not 0 <= done < self.horizon_curriculum_updates or start >= horizon:
            return horizon
        num_lengths = 1 + math.ceil((horizon - start) / step)
        length = start + step * (done * num_lengths // self.horizon_curriculum_updates)
        return min(length, horizon)


@register_criterion("regression", config=RegressionConfig)
class Regression(Criterion, FollowsUpdates):
    """Sum of errors over the targets that are there.

    With the error e = prediction - target, a target costs e ** 2 (mse), |e| (mae), or
    e ** 2 / 2 where |e| <= delta and delta * (|e| - delta / 2) elsewhere (huber; Huber 1964). With
    quantile it costs the mean over levels q of max(-q * e, (1 - q) * e) (Koenker and Bassett 1978),
    where the predictions have one dimension more than the targets.

    `batch.num_targets` counts the targets that are not nan. Only where `null_value` leaves out
    further ones, they are counted here. The metrics "mae" and "mse" are of the predictions
    themselves, or of the quantile next to one half.

    With a curriculum on the horizon, which is the second dimension of the targets, only its first
    steps count in early updates, in all that is counted here; the metric "horizon" says how many.
    Evaluation is always over the whole.
    """

    target_kind = NUMBERS

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
        num_targets = self._count(is_there, batch)
        metrics = Metrics(
            {
                "loss": Mean(total, num_targets),
                "mae": Mean(errors.abs().sum(), num_targets),
                "mse": Mean(errors.square().sum(), num_targets),
            }
        )
        if self.config.horizon_curriculum_updates:
            metrics["horizon"] = Mean(self._horizon(targets) * num_targets, num_targets)
        return LossOutput(total, num_targets, metrics, output)

    def _is_there(self, targets: Tensor, batch: Batch) -> Tensor:
        is_there = targets.isnan().logical_not()
        if self.config.null_value is not None:
            is_there &= targets.ne(self.config.null_value)
        if self.config.horizon_curriculum_updates:
            is_there[:, self._horizon(targets) :] = False
        return is_there if batch.num_targets else torch.zeros_like(is_there)

    def _count(self, is_there: Tensor, batch: Batch) -> int:
        is_shortened = self.config.horizon_curriculum_updates > 0 and self.training
        if (self.config.null_value is None and not is_shortened) or not batch.num_targets:
            return batch.num_targets
        return int(is_there.sum())

    def _horizon(self, targets: Tensor) -> int:
        """Returns how many steps of the targets count now."""
        if targets.dim() < 2:
            raise ConfigError(
                "criterion.horizon_curriculum_updates needs targets [batch, horizon, ...]; these "
                f"are {list(targets.shape)}. Set it to 0."
            )
        whole = targets.size(1)
        return self.config.horizon_at(self.update_number, whole) if self.training else whole

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
