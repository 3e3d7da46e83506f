"""Cross entropy against distributions over classes, as mixup makes them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.target_kinds import CLASSES
from seqtrain.metrics import Mean, Metrics, Percent
from seqtrain.models.base import ModelOutput
from seqtrain.modules.fused_loss import loss_dtype
from seqtrain.option_checks import require_range

SOFT_TARGETS = "soft_targets"
"""Name in `Batch.extras` of the distributions, [batch, ..., classes]."""


@dataclass(kw_only=True)
class SoftCrossEntropyConfig(CriterionConfig):
    """Cross entropy against soft targets; against the targets themselves where there are none."""

    label_smoothing: float = 0.0
    """Probability that is spread evenly over all classes, the target's included."""

    def __post_init__(self) -> None:
        require_range("criterion.label_smoothing", self.label_smoothing, least=0, below=1)


@register_criterion("soft_cross_entropy", config=SoftCrossEntropyConfig)
class SoftCrossEntropy(Criterion):
    """Sum over targets of -sum_k q_k log p_k, in nats (Szegedy et al. 2016; Zhang et al. 2018).

    With K classes and e = label_smoothing, q is (1 - e) * soft target + e / K. Soft targets are the
    batch's extra "soft_targets", [batch, ..., classes]; without it, as in validation, they are
    all on the target. The metric "accuracy" counts hits of the unmixed target.
    """

    target_kind = CLASSES

    reads_soft_targets = True

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        output: ModelOutput = model(**batch.inputs)
        logits = output.logits.flatten(0, -2)
        targets = batch.targets.flatten()
        is_target = targets.ne(self.context.padding_index)
        log_probs = torch.log_softmax(logits, dim=-1, dtype=loss_dtype(logits.dtype))
        soft = self._distributions(batch, targets.where(is_target, 0), log_probs)
        total = -((soft * log_probs).sum(dim=-1) * is_target).sum()
        hits = (logits.argmax(dim=-1).eq(targets) & is_target).sum()
        return LossOutput(
            total,
            batch.num_targets,
            Metrics(
                {
                    "loss": Mean(total, batch.num_targets),
                    "accuracy": Percent(hits, batch.num_targets),
                }
            ),
            output,
        )

    def _distributions(self, batch: Batch, targets: Tensor, like: Tensor) -> Tensor:
        if SOFT_TARGETS in batch.extras:
            soft = batch.extras[SOFT_TARGETS].flatten(0, -2).to(like.dtype)
        else:
            soft = F.one_hot(targets, like.size(-1)).to(like.dtype)
        smoothing: float = self.config.label_smoothing
        return (1.0 - smoothing) * soft + smoothing / like.size(-1) if smoothing else soft
