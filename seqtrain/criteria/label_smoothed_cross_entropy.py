"""Cross entropy against targets smoothed with the uniform distribution."""

from dataclasses import dataclass

from torch import nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.cross_entropy import symbol_loss
from seqtrain.criteria.target_kinds import CLASSES
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class LabelSmoothedCrossEntropyConfig(CriterionConfig):
    """Negative log probability with label smoothing (Szegedy et al. 2016)."""

    label_smoothing: float = 0.1
    """Probability that is spread evenly over all symbols but the target."""
    report_accuracy: bool = False
    """Also log the percentage of targets that have the highest probability."""

    def __post_init__(self) -> None:
        require_range("criterion.label_smoothing", self.label_smoothing, least=0, below=1)


@register_criterion("label_smoothed_cross_entropy", config=LabelSmoothedCrossEntropyConfig)
class LabelSmoothedCrossEntropy(Criterion):
    """Cross entropy with smoothed labels, as fairseq computes it.

    With e = label_smoothing, V symbols and p the model's distribution, a target t costs
    -(1 - e) log p(t) - e / (V - 1) * (sum over all v other than t of log p(v)). The metric "loss"
    is that, "nll_loss" and "ppl" come from -log p(t) alone.
    """

    target_kind = CLASSES

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        config = self.config
        return symbol_loss(
            model, batch, self.context, config.label_smoothing, config.report_accuracy
        )
