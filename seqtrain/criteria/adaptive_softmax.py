"""Cross entropy by an adaptive softmax: rare symbols in clusters with narrow weights."""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.cross_entropy import real_positions
from seqtrain.criteria.target_kinds import CLASSES
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics, Perplexity
from seqtrain.models.base import ModelContext, ModelOutput
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.fused_loss import loss_dtype
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class AdaptiveSoftmaxConfig(CriterionConfig):
    """Adaptive softmax over a large vocabulary whose ids go from frequent to rare symbols."""

    dim: int = 256
    """Width of the model's features: the same as `model.dim`."""
    cutoffs: list[int] = field(default_factory=list)
    """First id of each cluster of rarer symbols, ascending; empty: at a tenth and at four tenths
    of the vocabulary."""
    factor: float = 4.0
    """How much narrower each cluster is than the one before."""
    dropout: float = 0.0
    """Probability of dropping a value of a cluster's features."""

    def __post_init__(self) -> None:
        if self.dim < 1 or not self.factor >= 1.0:
            raise ConfigError(
                "criterion.dim and criterion.factor must be at least 1, "
                f"got {self.dim} and {self.factor}."
            )
        require_range("criterion.dropout", self.dropout, least=0, below=1)


@register_criterion("adaptive_softmax", config=AdaptiveSoftmaxConfig)
class AdaptiveSoftmax(Criterion):
    """Sum of -log p(target) with the factorised p of Grave et al. (2017), in nats.

    A head holds the frequent symbols and one entry for each cluster; p of a symbol of a cluster is
    p(cluster) * p(symbol | cluster), where cluster i sees the features in dim / factor ** i
    dimensions. Head and clusters are this criterion's parameters, trained and saved with the run.

    The model's own output layer takes no part and is not trained, so this is for losses and
    perplexities, not for search.
    """

    target_kind = CLASSES

    def __init__(self, config: AdaptiveSoftmaxConfig, context: ModelContext) -> None:
        super().__init__(config, context)
        vocab_size = context.target_vocab_size
        if not vocab_size:
            raise ConfigError("criterion=adaptive_softmax needs a task with a target vocabulary.")
        self.edges = [*_cutoffs(config.cutoffs, vocab_size), vocab_size]
        self.head = nn.Linear(config.dim, self.edges[0] + len(self.edges) - 1)
        self.clusters = nn.ModuleList()
        for index, (begin, end) in enumerate(pairwise(self.edges), start=1):
            width = max(int(config.dim / config.factor**index), 1)
            self.clusters.append(
                nn.Sequential(
                    nn.Linear(config.dim, width, bias=False),
                    Dropout(config.dropout),
                    nn.Linear(width, end - begin, bias=False),
                )
            )

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        output: ModelOutput = model(**batch.inputs)
        if output.features.size(-1) != self.config.dim:
            raise ConfigError(
                f"criterion.dim is {self.config.dim}, but the model's features have "
                f"{output.features.size(-1)} dimensions. Set criterion.dim to that."
            )
        features, targets = real_positions(output.features, batch, self.context.padding_index)
        total = self._nll(features, targets)
        return LossOutput(
            total,
            batch.num_targets,
            Metrics(
                {
                    "loss": Mean(total, batch.num_targets),
                    "nll_loss": Mean(total, batch.num_targets),
                    "ppl": Perplexity(total, batch.num_targets),
                }
            ),
            output,
        )

    def _nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """Returns the sum of -log p; features are [targets, dim]."""
        num_frequent = self.edges[0]
        in_head = targets.clone()
        total = features.new_zeros((), dtype=loss_dtype(features.dtype))
        # Clusters without a target run on no rows, so that their gradients are zero, not missing.
        for index, (begin, end) in enumerate(pairwise(self.edges)):
            rows = ((targets >= begin) & (targets < end)).nonzero().squeeze(1)
            in_head[rows] = num_frequent + index
            logits = self.clusters[index](features.index_select(0, rows))
            total = total + _nll_sum(logits, targets.index_select(0, rows) - begin)
        return total + _nll_sum(self.head(features), in_head)


def _cutoffs(cutoffs: list[int], vocab_size: int) -> list[int]:
    if not cutoffs:
        return sorted({max(vocab_size // 10, 1), max(4 * vocab_size // 10, 1)} - {vocab_size})
    if any(later <= earlier for earlier, later in pairwise([0, *cutoffs, vocab_size])):
        raise ConfigError(
            f"criterion.cutoffs must be ascending and between 0 and the {vocab_size} symbols of "
            f"the target vocabulary, got {cutoffs}."
        )
    return list(cutoffs)


def _nll_sum(logits: Tensor, targets: Tensor) -> Tensor:
    log_probs = torch.log_softmax(logits, dim=-1, dtype=loss_dtype(logits.dtype))
    return -log_probs.gather(1, targets[:, None]).sum()
