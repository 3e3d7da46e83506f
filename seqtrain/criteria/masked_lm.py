"""Cross entropy of hidden symbols."""

from dataclasses import dataclass

from torch import nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.cross_entropy import symbol_loss
from seqtrain.criteria.target_kinds import CLASSES


@dataclass(kw_only=True)
class MaskedLMConfig(CriterionConfig):
    """Negative log probability of the symbols that were hidden from the model."""

    report_accuracy: bool = True
    """Also log the percentage of hidden symbols that have the highest probability."""


@register_criterion("masked_lm", config=MaskedLMConfig)
class MaskedLM(Criterion):
    """Sum over the hidden positions of -log p(symbol), in nats (Devlin et al. 2019, section 3.1).

    The batch's targets hold the original symbol at hidden positions and padding everywhere else,
    so that only hidden positions go through the output layer.
    """

    target_kind = CLASSES

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        return symbol_loss(model, batch, self.context, 0.0, self.config.report_accuracy)
