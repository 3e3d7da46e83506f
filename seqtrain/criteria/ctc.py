"""Connectionist temporal classification: targets without an alignment to the input."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.target_kinds import SEQUENCES
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import ModelOutput
from seqtrain.modules.fused_loss import loss_dtype
from seqtrain.option_checks import require_range

PADDING_MASK = "padding_mask"
"""Name in `ModelOutput.aux` of what is padding among the output positions, bool [batch, time]."""


@dataclass(kw_only=True)
class CTCConfig(CriterionConfig):
    """Negative log probability of the target over all its alignments to the output."""

    blank_index: int = 0
    """Class that stands for no symbol; it must not be a target. 0 is the begin-of-sequence symbol
    of text, which never is one."""
    zero_infinity: bool = True
    """A target that is too long for its output counts 0; else its loss is infinite, and the update
    is skipped."""

    def __post_init__(self) -> None:
        require_range("criterion.blank_index", self.blank_index, least=0)


@register_criterion("ctc", config=CTCConfig)
class CTC(Criterion):
    """Sum of -log p(target sequence), in nats, over all alignments (Graves et al. 2006).

    The model gives logits for every output position, [batch, time, classes], and where some rows
    are shorter `aux["padding_mask"]`, True at padding on the right. A target ends where its padding
    begins. The loss is a sum over sequences; it is normalised by the number of target symbols.
    """

    target_kind = SEQUENCES

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        output: ModelOutput = model(**batch.inputs)
        logits = output.logits
        if self.config.blank_index >= logits.size(-1):
            raise ConfigError(
                f"criterion.blank_index is {self.config.blank_index}, but the model has only "
                f"{logits.size(-1)} classes."
            )
        log_probs = torch.log_softmax(logits, dim=-1, dtype=loss_dtype(logits.dtype))
        losses = F.ctc_loss(
            log_probs.transpose(0, 1),
            batch.targets,
            _output_lengths(output, logits),
            batch.targets.ne(self.context.padding_index).sum(dim=1),
            blank=self.config.blank_index,
            reduction="none",
            zero_infinity=self.config.zero_infinity,
        )
        # An empty batch holds a row without targets, whose loss is that of blanks alone.
        total = losses[: batch.num_examples].sum()
        return LossOutput(
            total, batch.num_targets, Metrics({"loss": Mean(total, batch.num_targets)}), output
        )


def _output_lengths(output: ModelOutput, logits: Tensor) -> Tensor:
    """Returns the number of real output positions of each row, int64 [batch]."""
    if PADDING_MASK in output.aux:
        return output.aux[PADDING_MASK].logical_not().sum(dim=1)
    batch, time, _ = logits.shape
    return torch.full((batch,), time, dtype=torch.int64, device=logits.device)
