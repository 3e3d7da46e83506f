"""A plug-in: a small recurrent translation model, and a criterion that trusts noisy data less."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import (
    EncoderDecoderModel,
    ModelConfig,
    ModelContext,
    ModelOutput,
    register_model,
)


@dataclass(kw_only=True)
class GRUConfig(ModelConfig):
    """Two recurrent networks; the mean of the first starts the second."""

    dim: int = 64
    """Width of embeddings and states."""

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"model.dim must be at least 1, got {self.dim}.")


@register_model("gru", config=GRUConfig)
class GRUModel(EncoderDecoderModel):
    """Recurrent encoder-decoder without attention (Cho et al., 2014)."""

    def __init__(self, config: GRUConfig, context: ModelContext) -> None:
        super().__init__()
        self.padding_index = context.padding_index
        self.source = nn.Embedding(context.source_vocab_size, config.dim, context.padding_index)
        self.target = nn.Embedding(context.target_vocab_size, config.dim, context.padding_index)
        self.encoder = nn.GRU(config.dim, config.dim, batch_first=True)
        self.decoder = nn.GRU(config.dim, config.dim, batch_first=True)
        self.output = nn.Linear(config.dim, context.target_vocab_size, bias=False)

    @classmethod
    @override
    def from_config(cls, config: GRUConfig, context: ModelContext) -> Self:
        context.require("gru", "source_vocab_size", "target_vocab_size")
        return cls(config, context)

    @override
    def encode(self, source_tokens: Tensor) -> dict[str, Tensor]:
        states, _ = self.encoder(self.source(source_tokens))
        is_symbol = source_tokens.ne(self.padding_index).unsqueeze(2)
        mean = (states * is_symbol).sum(1) / is_symbol.sum(1).clamp(min=1)
        return {"mean": mean}  # [batch, dim]

    @override
    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        if state is None:
            new, before = prefix, memory["mean"]
        else:
            new, before = prefix[:, -1:], state["hidden"]
        features, after = self.decoder(self.target(new), before.unsqueeze(0).contiguous())
        return ModelOutput(features, self.output), {"hidden": after.squeeze(0)}


@dataclass(kw_only=True)
class ClippedCrossEntropyConfig(CriterionConfig):
    """Cross entropy that a single target can only dominate up to a limit."""

    limit: float = 10.0
    """Largest loss of a target, in nats; one beyond it gives no gradient."""

    def __post_init__(self) -> None:
        if self.limit <= 0:
            raise ConfigError(f"criterion.limit must be positive, got {self.limit}.")


@register_criterion("clipped_cross_entropy", config=ClippedCrossEntropyConfig)
class ClippedCrossEntropy(Criterion):
    """Sum over targets of min(-log p(target), limit), in nats."""

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        logits = model(**batch.inputs).logits.flatten(0, 1).float()
        targets = batch.targets.flatten()
        losses = nn.functional.cross_entropy(
            logits, targets, ignore_index=self.context.padding_index, reduction="none"
        )
        total = torch.clamp(losses, max=self.config.limit).sum()
        return LossOutput(
            total, batch.num_targets, Metrics({"loss": Mean(total, batch.num_targets)})
        )
