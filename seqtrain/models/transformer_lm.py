"""Transformer language model: decoder layers without a source (Radford et al. 2019)."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import (
    DecoderModel,
    Decoding,
    ModelContext,
    ModelOutput,
    register_model,
)
from seqtrain.models.cached_decoding import CachedDecoding
from seqtrain.models.tensor_plans import transformer_plan
from seqtrain.models.transformer_stack import (
    TransformerStack,
    TransformerStackConfig,
    document_bias,
    output_layer,
    positions_in_documents,
)
from seqtrain.modules.attention import MASKED_SCORE
from seqtrain.modules.beam_cache import BeamCache
from seqtrain.modules.grouped_attention import AttentionMask


@dataclass(kw_only=True)
class TransformerLMConfig(TransformerStackConfig):
    """Transformer language model; the defaults suit some megabytes of text."""


@register_model("transformer_lm", config=TransformerLMConfig)
class TransformerLM(DecoderModel):
    """Each symbol given those before it, by causal self-attention.

    Args:
        config: Sizes and kinds.
        decoder: Embedding and layers.
        output_projection: From features to logits.
    """

    def __init__(
        self, config: TransformerLMConfig, decoder: TransformerStack, output_projection: nn.Linear
    ) -> None:
        super().__init__()
        self.config = config
        self.max_target_positions = config.max_positions
        self.decoder = decoder
        self.output_projection = output_projection

    @classmethod
    @override
    def from_config(cls, config: TransformerLMConfig, context: ModelContext) -> Self:
        context.require("transformer_lm", "target_vocab_size")
        decoder = TransformerStack(config, context.target_vocab_size, context.padding_index)
        return cls(config, decoder, output_layer(config, decoder.embed_tokens, context))

    @override
    def vocabulary_rows(self) -> dict[str, str]:
        return {
            "decoder.embed_tokens.weight": "target",
            "output_projection.weight": "target",
        }

    @override
    def layers_to_shard(self) -> list[nn.Module]:
        return [] if self.decoder.layer_drop else list(self.decoder.layers)

    @override
    def tensor_parallel_plan(self, size: int) -> dict[str, str]:
        if self.config.activation == "swiglu":
            raise ConfigError(
                "model.activation=swiglu packs two layers into one, which "
                "distributed.tensor_parallel cannot divide. Use strategy=fsdp, or gelu."
            )
        widths = {"num_key_heads": self.config.key_heads, "ffn_dim": self.config.inner_dim}
        return transformer_plan(self, size, widths)

    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, prev_output_tokens: Tensor, document_ids: Tensor | None = None
    ) -> ModelOutput:
        if document_ids is None:
            return self.decode(prev_output_tokens, {}, None)[0]
        # Rotary positions need no counting from 0: scores know distances alone.
        x = self.decoder.embed(prev_output_tokens, 0, positions_in_documents(document_ids))
        bias = document_bias(document_ids, x.dtype, MASKED_SCORE)
        length = prev_output_tokens.size(1)
        features, _ = self.decoder.run(x, AttentionMask(bias, length, length, x), 0, {})
        return ModelOutput(features, self.output_projection)

    @override
    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        num_known = state["keys.0"].size(2) if state else 0
        x = self.decoder.embed(prefix[:, num_known:], num_known)
        mask = AttentionMask(None, prefix.size(1) - num_known, prefix.size(1), x)
        features, state = self.decoder.run(x, mask, num_known, state or {})
        return ModelOutput(features, self.output_projection), state

    @override
    def decoding(self, width: int) -> Decoding | None:
        return CachedDecoding(self, width, 1, self.decoder.embed_tokens.weight.device)

    def decode_symbols(
        self,
        symbols: Tensor,
        positions: Tensor,
        bias: Tensor,
        memory: dict[str, Tensor],
        caches: list[BeamCache],
    ) -> ModelOutput:
        """Reads one more symbol of each prefix (see `CachingModel`)."""
        features = self.decoder.extend(symbols, positions, bias, caches)
        return ModelOutput(features, self.output_projection)
