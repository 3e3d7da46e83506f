"""Transformer encoder over symbols (Devlin et al. 2019): every position sees every other."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import Model, ModelContext, ModelOutput, register_model
from seqtrain.models.transformer_stack import (
    TransformerStack,
    TransformerStackConfig,
    output_layer,
)
from seqtrain.modules.attention import padding_bias
from seqtrain.modules.grouped_attention import AttentionMask


@dataclass(kw_only=True)
class TransformerEncoderConfig(TransformerStackConfig):
    """Transformer encoder with an output for every symbol, as masked language models have."""


@register_model("transformer_encoder", config=TransformerEncoderConfig)
class TransformerEncoderModel(Model):
    """Symbols in, logits over symbols out, one for each position.

    Args:
        encoder: Embedding and layers.
        output_projection: From features to logits.
    """

    def __init__(self, encoder: TransformerStack, output_projection: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.output_projection = output_projection

    @classmethod
    @override
    def from_config(cls, config: TransformerEncoderConfig, context: ModelContext) -> Self:
        context.require("transformer_encoder", "source_vocab_size", "target_vocab_size")
        if config.tie_embeddings and not context.shared_vocab:
            raise ConfigError(
                "model.tie_embeddings=true needs a task whose outputs are the symbols of its "
                "inputs. Set model.tie_embeddings=false."
            )
        encoder = TransformerStack(config, context.source_vocab_size, context.padding_index)
        return cls(encoder, output_layer(config, encoder.embed_tokens, context))

    @override
    def vocabulary_rows(self) -> dict[str, str]:
        return {
            "encoder.embed_tokens.weight": "source",
            "output_projection.weight": "target",
        }

    @override
    def forward(self, source_tokens: Tensor) -> ModelOutput:  # type: ignore[override] # names the inputs that the base leaves open
        """Returns the output for every position.

        Args:
            source_tokens: Symbol ids, int64 [batch, time], padded on the right.
        """
        x = self.encoder.embed(source_tokens, 0)
        length = source_tokens.size(1)
        bias = padding_bias(source_tokens == self.encoder.embed_tokens.padding_index, x.dtype)
        features, _ = self.encoder.run(x, AttentionMask(bias, length, length, x), 0, {})
        return ModelOutput(features, self.output_projection)
