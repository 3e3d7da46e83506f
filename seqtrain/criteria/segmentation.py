"""Classes of all positions of an image or a sequence, with the help of two side losses."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.target_kinds import CLASSES_OF_POSITIONS
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metric, Metrics, Percent
from seqtrain.models.base import ModelOutput
from seqtrain.models.side_heads import AUXILIARY, PRESENCE
from seqtrain.modules.fused_loss import loss_dtype


@dataclass(kw_only=True)
class SegmentationConfig(CriterionConfig):
    """Cross entropy at every position, and losses of an auxiliary and a presence head."""

    auxiliary_weight: float = 0.0
    """Weight of the cross entropy of the model's auxiliary head; 0 for none, 0.2 is usual."""
    presence_weight: float = 0.0
    """Weight of the loss on which classes occur at all; 0 for none, 0.2 is usual."""
    class_weights: list[float] = field(default_factory=list)
    """Weight of each class in the cross entropies; empty for 1."""
    report_accuracy: bool = True
    """Also log the percentage of positions whose class has the highest probability."""

    def __post_init__(self) -> None:
        weights = [self.auxiliary_weight, self.presence_weight, *self.class_weights]
        if not all(weight >= 0.0 and math.isfinite(weight) for weight in weights):
            raise ConfigError(
                "criterion.auxiliary_weight, presence_weight and class_weights must be finite and "
                f"not negative, got {self.auxiliary_weight}, {self.presence_weight} and "
                f"{self.class_weights}."
            )


@register_criterion("segmentation", config=SegmentationConfig)
class Segmentation(Criterion):
    """Sum over positions of main + auxiliary_weight * auxiliary + presence_weight * presence.

    Main and auxiliary are w[t] * -log p(t) of the position's class t, in nats, with
    w = class_weights; the sum is divided by the number of positions, not by that of weights.
    Presence (Zhang et al. 2018, "Context Encoding", section 3.1) is the mean over classes of the
    binary cross entropy of "occurs in the example", and counts once for each position of the
    example. Logits are [batch, ..., classes], targets [batch, ...] with padding where a position is
    not to be judged.
    """

    target_kind = CLASSES_OF_POSITIONS

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        output: ModelOutput = model(**batch.inputs)
        logits = output.logits.flatten(1, -2)
        targets = batch.targets.flatten(1)
        is_target = targets.ne(self.context.padding_index)
        weights = self._class_weights(logits)
        main = _cross_entropy(logits, targets, is_target, weights)
        total = main
        if self.config.auxiliary_weight:
            auxiliary = self._aux(output, AUXILIARY, "auxiliary_weight").flatten(1, -2)
            extra = _cross_entropy(auxiliary, targets, is_target, weights)
            total = total + self.config.auxiliary_weight * extra
        if self.config.presence_weight:
            presence = self._aux(output, PRESENCE, "presence_weight")
            extra = _presence_loss(presence, targets, is_target)
            total = total + self.config.presence_weight * extra
        metrics: dict[str, Metric] = {
            "loss": Mean(total, batch.num_targets),
            "main_loss": Mean(main, batch.num_targets),
        }
        if self.config.report_accuracy:
            hits = logits.detach().argmax(dim=2).eq(targets).logical_and(is_target).sum()
            metrics["accuracy"] = Percent(hits, batch.num_targets)
        return LossOutput(total, batch.num_targets, Metrics(metrics), output)

    def _class_weights(self, logits: Tensor) -> Tensor | None:
        weights: list[float] = self.config.class_weights
        if not weights:
            return None
        if len(weights) != logits.size(-1):
            raise ConfigError(
                f"criterion.class_weights holds {len(weights)} weights, but there are "
                f"{logits.size(-1)} classes."
            )
        return torch.tensor(weights, dtype=loss_dtype(logits.dtype), device=logits.device)

    def _aux(self, output: ModelOutput, name: str, key: str) -> Tensor:
        if name not in output.aux:
            raise ConfigError(
                f"criterion.{key} is {getattr(self.config, key)}, but the model gives no {name}. "
                f"Choose a model with that head, or set criterion.{key}=0."
            )
        return output.aux[name]


def _cross_entropy(
    logits: Tensor, targets: Tensor, is_target: Tensor, weights: Tensor | None
) -> Tensor:
    """Returns the sum over targets, of logits [batch, positions, classes]."""
    losses = F.cross_entropy(
        logits.flatten(0, 1).to(loss_dtype(logits.dtype)),
        targets.where(is_target, 0).flatten(),
        weights,
        reduction="none",
    )
    return losses.where(is_target.flatten(), 0.0).sum()


def _presence_loss(logits: Tensor, targets: Tensor, is_target: Tensor) -> Tensor:
    batch, num_classes = logits.shape
    # A column more takes what is not to be judged.
    occurs = logits.new_zeros((batch, num_classes + 1), dtype=loss_dtype(logits.dtype))
    occurs.scatter_(1, targets.where(is_target, num_classes), 1.0)
    losses = F.binary_cross_entropy_with_logits(
        logits.to(occurs.dtype), occurs[:, :num_classes], reduction="none"
    )
    return (losses.mean(dim=1) * is_target.sum(dim=1)).sum()
