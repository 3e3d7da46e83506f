"""R-Drop: two passes with different dropout must agree."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.cross_entropy import real_positions, symbol_metrics
from seqtrain.criteria.target_kinds import CLASSES
from seqtrain.metrics import Mean
from seqtrain.models.base import ModelOutput
from seqtrain.modules.fused_loss import LossOptions, LossSums, logits_loss, loss_dtype
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class RDropConfig(CriterionConfig):
    """Label-smoothed cross entropy of two passes and the distance between them."""

    kl_weight: float = 5.0
    """Weight of the distance: alpha of the paper, which takes 5 for translation."""
    label_smoothing: float = 0.1
    """Probability that is spread evenly over all symbols but the target."""
    report_accuracy: bool = False
    """Also log the percentage of targets that have the highest probability."""

    def __post_init__(self) -> None:
        require_range("criterion.kl_weight", self.kl_weight, least=0)
        require_range("criterion.label_smoothing", self.label_smoothing, least=0, below=1)


@register_criterion("r_drop", config=RDropConfig)
class RDrop(Criterion):
    """Half the loss of Liang et al. (2021), equation 4, so that it compares with one pass.

    With the smoothed losses L1, L2 and the distributions p1, p2 of two passes, a target costs
    (L1 + L2) / 2 + kl_weight / 4 * (KL(p1 || p2) + KL(p2 || p1)). Evaluation, where nothing is
    dropped, makes one pass. The metric "kl" is the mean of the two divergences.
    """

    target_kind = CLASSES

    shares_output: ClassVar[bool] = False

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        config = self.config
        options = LossOptions(
            label_smoothing=config.label_smoothing, count_correct=config.report_accuracy
        )
        logits, targets = self._logits(model, batch)
        sums = logits_loss(logits, targets, options)
        total, kl = sums.total, torch.zeros_like(sums.total)
        if self.training:
            other, _ = self._logits(model, batch)
            total = 0.5 * (total + logits_loss(other, targets, options).total)
            kl = 0.5 * _symmetric_kl(logits, other)
            total = total + 0.5 * config.kl_weight * kl
        sums = LossSums(total, sums.nll, sums.num_correct)
        metrics = symbol_metrics(sums, batch.num_targets, config.report_accuracy)
        metrics["kl"] = Mean(kl, batch.num_targets)
        return LossOutput(total, batch.num_targets, metrics)

    def _logits(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the logits, [targets, vocab], and the targets of one pass."""
        output: ModelOutput = model(**batch.inputs)
        features, targets = real_positions(output.features, batch, self.context.padding_index)
        return output.output_layer(features), targets


def _symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """Returns KL(p || q) + KL(q || p) = sum of (p - q) * (log p - log q), summed over rows."""
    log_p, log_q = (
        torch.log_softmax(logits, dim=-1, dtype=loss_dtype(logits.dtype))
        for logits in (first, second)
    )
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()
