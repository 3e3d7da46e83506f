"""Transformer encoder-decoder (Vaswani et al. 2017)."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.models.base import (
    Decoding,
    EncoderDecoderModel,
    ModelConfig,
    ModelContext,
    ModelOutput,
    register_model,
)
from seqtrain.models.cached_decoding import CachedDecoding
from seqtrain.models.embedding_sharing import SHARING_CHOICES, shared_embeddings
from seqtrain.models.recorded_inputs import recorded_inputs
from seqtrain.models.tensor_plans import transformer_plan
from seqtrain.modules.attention import (
    CrossAttention,
    MemoryProjection,
    causal_bias,
    padding_bias,
)
from seqtrain.modules.beam_cache import BeamCache
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.embedding import TokenEmbedding
from seqtrain.modules.layer_passes import is_dropped, run_layer
from seqtrain.modules.packing import Packing, packing_for
from seqtrain.modules.positions import POSITION_KINDS, Positions, build_positions
from seqtrain.modules.transformer_layers import (
    ACTIVATIONS,
    DecoderLayer,
    EncoderLayer,
    LayerOptions,
)
from seqtrain.option_checks import require, require_choice, require_fields


@dataclass(kw_only=True)
class TransformerConfig(ModelConfig):
    """Transformer encoder-decoder; the defaults suit some ten thousand sentences."""

    dim: int = 256
    """Width of embeddings and between blocks."""
    ffn_dim: int = 1024
    """Width inside feed-forward blocks."""
    num_heads: int = 4
    """Attention heads; must divide dim."""
    encoder_layers: int = 3
    """Encoder layers."""
    decoder_layers: int = 3
    """Decoder layers."""
    dropout: float = 0.1
    """Probability of dropping a value of embeddings and block outputs."""
    attention_dropout: float = 0.0
    """Probability of dropping an attention weight."""
    activation_dropout: float = 0.0
    """Probability of dropping a value inside feed-forward blocks."""
    activation: str = "relu"
    """relu or gelu."""
    norm: str = "pre"
    """pre normalises the input of each block, post the sum after it (as in the paper)."""
    share_embeddings: str = "auto"
    """all: source, target and output share one; decoder: target and output; none; auto: all
    where the vocabulary is shared, else decoder."""
    positions: str = "auto"
    """fairseq or marian (two sinusoidal tables), learned; auto: fairseq with pre, marian with
    post, which are the pairs that common exchange formats know."""
    max_positions: int = 1024
    """Longest source or target, in symbols."""
    layer_drop: float = 0.0
    """Probability of leaving out a whole layer while training (Fan et al. 2019)."""
    checkpoint_activations: bool = False
    """Compute a layer's inner values again in the backward pass instead of keeping them: less
    memory, about a third more time, the same bits."""

    def __post_init__(self) -> None:
        sizes = ("dim", "ffn_dim", "num_heads", "max_positions", "encoder_layers", "decoder_layers")
        require_fields("model", self, *sizes, least=1)
        shares = ("dropout", "attention_dropout", "activation_dropout", "layer_drop")
        require_fields("model", self, *shares, least=0, below=1)
        is_divided = self.dim % 2 == 0 and self.dim % self.num_heads == 0
        heads = f"be even and a multiple of model.num_heads ({self.num_heads})"
        require(is_divided, "model.dim", self.dim, heads)
        require_choice("model.activation", self.activation, ACTIVATIONS)
        require_choice("model.norm", self.norm, ("pre", "post"))
        require_choice("model.share_embeddings", self.share_embeddings, SHARING_CHOICES)
        require_choice("model.positions", self.positions, ("auto", *POSITION_KINDS))

    @property
    def position_kind(self) -> str:
        """The kind of positions, auto resolved."""
        if self.positions != "auto":
            return self.positions
        return "fairseq" if self.norm == "pre" else "marian"


@register_model("transformer", config=TransformerConfig)
class TransformerModel(EncoderDecoderModel):
    """Transformer encoder-decoder.

    Parameter names follow fairseq's, except that the projections of one attention are packed
    (`seqtrain.modules.attention.pack_projections`) and that those of the source for the decoder's
    layers lie in `decoder.memory_projections`, so that they are computed once in `encode`.
    """

    def __init__(
        self,
        config: TransformerConfig,
        source_embedding: TokenEmbedding,
        target_embedding: TokenEmbedding,
        output_projection: nn.Linear,
    ) -> None:
        super().__init__()
        self.max_target_positions = config.max_positions
        self.num_heads = config.num_heads
        self.ffn_dim = config.ffn_dim
        self.encoder = TransformerEncoder(config, source_embedding)
        self.decoder = TransformerDecoder(config, target_embedding, output_projection)

    @classmethod
    @override
    def from_config(cls, config: TransformerConfig, context: ModelContext) -> Self:
        context.require("transformer", "source_vocab_size", "target_vocab_size")
        return cls(config, *shared_embeddings(config.dim, config.share_embeddings, context))

    @override
    def vocabulary_rows(self) -> dict[str, str]:
        return {
            "encoder.embed_tokens.weight": "source",
            "decoder.embed_tokens.weight": "target",
            "decoder.output_projection.weight": "target",
        }

    @override
    def layers_to_shard(self) -> list[nn.Module]:
        if self.encoder.layer_drop:  # processes leave out different layers
            return []
        decoder = self.decoder
        return [*self.encoder.layers, *decoder.layers, *decoder.memory_projections]

    @override
    def tensor_parallel_plan(self, size: int) -> dict[str, str]:
        widths = {"num_heads": self.num_heads, "ffn_dim": self.ffn_dim}
        return transformer_plan(self, size, widths)

    @override
    def encode(self, source_tokens: Tensor) -> dict[str, Tensor]:
        padding_mask = source_tokens == self.encoder.embed_tokens.padding_index
        packing = packing_for(padding_mask)
        encoded = self.encoder(source_tokens, padding_mask, packing)
        memory = {"padding_mask": padding_mask}
        for index, projection in enumerate(self.decoder.memory_projections):
            memory[f"keys.{index}"], memory[f"values.{index}"] = projection(encoded, packing)
        return memory

    @override
    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        features, state = self.decoder(prefix, memory, state or {})
        return ModelOutput(features, self.decoder.output_projection), state

    @override
    def decoding(self, width: int) -> Decoding | None:
        device = self.decoder.embed_tokens.weight.device
        return CachedDecoding(self, width, self.num_heads, device)

    def decode_symbols(
        self,
        symbols: Tensor,
        positions: Tensor,
        bias: Tensor,
        memory: dict[str, Tensor],
        caches: list[BeamCache],
    ) -> ModelOutput:
        """Reads one more symbol of each prefix (see `CachingModel`)."""
        features = self.decoder.extend(symbols, positions, bias, memory, caches)
        return ModelOutput(features, self.decoder.output_projection)

    @override
    def attention(self, source_tokens: Tensor, prev_output_tokens: Tensor, layer: int) -> Tensor:
        layers = self.decoder.layers
        if not -len(layers) <= layer < len(layers):
            raise ConfigError(
                f"generation.alignment_layer must be from {-len(layers)} to {len(layers) - 1}, "
                f"as the decoder has {len(layers)} layers; got {layer}."
            )
        attention: CrossAttention = layers[layer].get_submodule("encoder_attn")  # type: ignore[assignment] # of that class in every layer
        with recorded_inputs(attention) as calls:
            self(source_tokens=source_tokens, prev_output_tokens=prev_output_tokens)
        return attention.weights(*calls[0]).mean(dim=1)


class TransformerEncoder(nn.Module):
    """Embedding and encoder layers; with pre-norm a last normalisation."""

    def __init__(self, config: TransformerConfig, embedding: TokenEmbedding) -> None:
        super().__init__()
        self.embed_tokens = embedding
        self.embed_positions = _positions(config, embedding)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(_options(config)) for _ in range(config.encoder_layers)
        )
        self.layer_norm = nn.LayerNorm(config.dim) if config.norm == "pre" else nn.Identity()
        self.layer_drop = config.layer_drop
        self.recompute = config.checkpoint_activations

    def forward(
        self, source_tokens: Tensor, padding_mask: Tensor, packing: Packing | None
    ) -> Tensor:
        """Encodes a source.

        Args:
            source_tokens: Symbol ids, int64 [batch, time].
            padding_mask: True at padding, bool [batch, time].
            packing: Of the same, to work on rows.

        Returns:
            [batch, time, dim]; with a packing [rows, dim].
        """
        positions = self.embed_positions(0, source_tokens.size(1))
        x = self.dropout(_embed(self.embed_tokens, source_tokens, positions, packing))
        bias = padding_bias(padding_mask, x.dtype)
        for layer in self.layers:
            if self.training and is_dropped(self.layer_drop):
                continue
            x = run_layer(layer, x, bias, packing, recompute=self.recompute)
        encoded: Tensor = self.layer_norm(x)
        return encoded


class TransformerDecoder(nn.Module):
    """Embedding, decoder layers and the output projection; with pre-norm a last normalisation."""

    def __init__(
        self, config: TransformerConfig, embedding: TokenEmbedding, output_projection: nn.Linear
    ) -> None:
        super().__init__()
        self.embed_tokens = embedding
        self.embed_positions = _positions(config, embedding)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(_options(config)) for _ in range(config.decoder_layers)
        )
        self.memory_projections = nn.ModuleList(
            MemoryProjection(config.dim, config.num_heads) for _ in range(config.decoder_layers)
        )
        self.layer_norm = nn.LayerNorm(config.dim) if config.norm == "pre" else nn.Identity()
        self.layer_drop = config.layer_drop
        self.recompute = config.checkpoint_activations
        self.output_projection = output_projection

    def forward(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs the positions of the prefix that the state does not cover.

        Args:
            prefix: Symbol ids, int64 [rows, time]. Padding on the right needs no mask, as no
                position sees a later one.
            memory: From TransformerModel.encode.
            state: Empty, or what an earlier call returned: keys and values of each layer.

        Returns:
            Features, [rows, new positions, dim], and the state after the whole prefix; of the
            layers that are not dropped.
        """
        num_known = state["keys.0"].size(2) if state else 0
        num_new = prefix.size(1) - num_known
        packing = None if state else packing_for(prefix == self.embed_tokens.padding_index)
        positions = self.embed_positions(num_known, num_new)
        x = self.dropout(_embed(self.embed_tokens, prefix[:, num_known:], positions, packing))
        bias = causal_bias(num_new, prefix.size(1), like=x)
        memory_bias = padding_bias(memory["padding_mask"], x.dtype)
        new_state: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            if self.training and is_dropped(self.layer_drop):
                continue
            keys, values = f"keys.{index}", f"values.{index}"
            cached = (state[keys], state[values]) if state else None
            attended = (memory[keys], memory[values])
            inputs = (x, bias, attended, memory_bias, cached, packing)
            x, cached = run_layer(layer, *inputs, recompute=self.recompute)
            new_state[keys], new_state[values] = cached
        features = self.layer_norm(x)
        return features if packing is None else packing.unpack(features), new_state

    def extend(
        self,
        symbols: Tensor,
        positions: Tensor,
        bias: Tensor,
        memory: dict[str, Tensor],
        caches: list[BeamCache],
    ) -> Tensor:
        """Returns the features of one more symbol of each prefix (see `CachingModel`)."""
        x = self.dropout(self.embed_tokens(symbols, self.embed_positions.at(positions)[:, None]))
        memory_bias = padding_bias(memory["padding_mask"], x.dtype)
        for index, layer in enumerate(self.layers):
            attended = (memory[f"keys.{index}"], memory[f"values.{index}"])
            x, _ = layer(x, bias, attended, memory_bias, caches[index])
        features: Tensor = self.layer_norm(x)
        return features


def _embed(
    embedding: TokenEmbedding, tokens: Tensor, positions: Tensor, packing: Packing | None
) -> Tensor:
    """Returns embedded tokens, [batch, time, dim]; with a packing only real ones, [rows, dim]."""
    if packing is None:
        embedded: Tensor = embedding(tokens, positions)
    else:
        rows = packing.positions % tokens.size(1)
        packed = packing.pack(tokens, spare=embedding.padding_index)
        embedded = embedding(packed, positions.index_select(0, rows))
    return embedded


def _positions(config: TransformerConfig, embedding: TokenEmbedding) -> Positions:
    return build_positions(
        config.position_kind, config.max_positions, config.dim, embedding.padding_index
    )


def _options(config: TransformerConfig) -> LayerOptions:
    return LayerOptions(
        dim=config.dim,
        ffn_dim=config.ffn_dim,
        num_heads=config.num_heads,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
        activation=config.activation,
        pre_norm=config.norm == "pre",
    )
