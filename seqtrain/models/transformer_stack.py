"""One stack of self-attention layers over symbols: what language models and encoders share."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqtrain.errors import DataError
from seqtrain.models.base import ModelConfig, ModelContext
from seqtrain.modules.beam_cache import BeamCache
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.embedding import TokenEmbedding
from seqtrain.modules.feed_forward import FEED_FORWARD_ACTIVATIONS
from seqtrain.modules.grouped_attention import AttentionMask
from seqtrain.modules.layer_passes import is_dropped, run_layer
from seqtrain.modules.norms import NORM_TYPES, build_norm
from seqtrain.modules.positions import LearnedPositions, Positions, build_positions
from seqtrain.modules.rotary import RotaryPositions
from seqtrain.modules.self_attention_layer import SelfAttentionLayer, SelfAttentionOptions
from seqtrain.option_checks import require, require_choice, require_fields, require_range

POSITION_CHOICES = ("rotary", "learned", "sinusoidal", "none")
EMBEDDING_STD = 0.02
"""Of symbols and learned positions at first, as in GPT-2: layers write larger values than that."""


@dataclass(kw_only=True)
class TransformerStackConfig(ModelConfig):
    """Base of the configs of models with one stack."""

    dim: int = 256
    """Width of embeddings and between blocks."""
    ffn_dim: int = 0
    """Width inside feed-forward blocks; 0 for 4 x dim, with swiglu for 8/3 x dim rounded up to a
    multiple of 64, which is about as many parameters."""
    num_heads: int = 4
    """Query heads; must divide dim."""
    num_key_heads: int = 0
    """Heads of keys and values, which query heads share in groups; must divide num_heads. 0 for
    num_heads."""
    layers: int = 4
    """Layers."""
    dropout: float = 0.1
    """Probability of dropping a value of embeddings and block outputs."""
    attention_dropout: float = 0.0
    """Probability of dropping an attention weight."""
    activation_dropout: float = 0.0
    """Probability of dropping a value inside feed-forward blocks."""
    activation: str = "gelu"
    """gelu, gelu_tanh (its approximation), relu or swiglu."""
    norm: str = "pre"
    """pre normalises the input of each block, post the sum after it."""
    norm_type: str = "layernorm"
    """layernorm or rmsnorm."""
    positions: str = "rotary"
    """rotary (queries and keys are turned), learned, sinusoidal, or none."""
    rotary_base: float = 10000.0
    """Larger is slower turning, for long sequences."""
    max_positions: int = 1024
    """Longest sequence, in symbols."""
    tie_embeddings: bool = True
    """One weight for embeddings and output layer."""
    bias: bool = True
    """Linear layers and layernorms add biases; the output layer never does."""
    layer_drop: float = 0.0
    """Probability of leaving out a whole layer while training (Fan et al. 2019)."""
    checkpoint_activations: bool = False
    """Compute a layer's inner values again in the backward pass instead of keeping them: less
    memory, about a third more time, the same bits."""

    def __post_init__(self) -> None:
        require_fields("model", self, "dim", "num_heads", "layers", "max_positions", least=1)
        require_fields("model", self, "ffn_dim", "num_key_heads", least=0)
        shares = ("dropout", "attention_dropout", "activation_dropout", "layer_drop")
        require_fields("model", self, *shares, least=0, below=1)
        require_range("model.rotary_base", self.rotary_base, above=1)
        require_choice("model.activation", self.activation, FEED_FORWARD_ACTIVATIONS)
        require_choice("model.norm", self.norm, ("pre", "post"))
        require_choice("model.norm_type", self.norm_type, NORM_TYPES)
        require_choice("model.positions", self.positions, POSITION_CHOICES)
        self._check_heads()

    def _check_heads(self) -> None:
        heads, key_heads = self.num_heads, self.key_heads
        demand = f"be even and a multiple of model.num_heads ({heads})"
        is_divided = self.dim % 2 == 0 and self.dim % heads == 0
        require(is_divided, "model.dim", self.dim, demand)
        demand = f"divide model.num_heads ({heads})"
        require(heads % key_heads == 0, "model.num_key_heads", key_heads, demand)
        demand = f"be an even multiple of model.num_heads ({heads}) with rotary positions"
        is_even = self.positions != "rotary" or (self.dim // heads) % 2 == 0
        require(is_even, "model.dim", self.dim, demand)

    @property
    def key_heads(self) -> int:
        """Heads of keys and values, 0 resolved."""
        return self.num_key_heads or self.num_heads

    @property
    def inner_dim(self) -> int:
        """Width inside feed-forward blocks, 0 resolved."""
        if self.ffn_dim:
            return self.ffn_dim
        return 64 * -(-self.dim * 8 // (3 * 64)) if self.activation == "swiglu" else 4 * self.dim

    def layer_options(self) -> SelfAttentionOptions:
        """Returns what the layers need to know."""
        return SelfAttentionOptions(
            dim=self.dim,
            ffn_dim=self.inner_dim,
            num_heads=self.num_heads,
            num_key_heads=self.key_heads,
            num_layers=self.layers,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
            activation=self.activation,
            norm_type=self.norm_type,
            pre_norm=self.norm == "pre",
            has_bias=self.bias,
        )


class TransformerStack(nn.Module):
    """Embedding, positions, layers, and with pre-norm a last normalisation.

    Args:
        config: Sizes and kinds.
        vocab_size: Symbols.
        padding_index: Symbol whose embedding stays zero.
    """

    def __init__(self, config: TransformerStackConfig, vocab_size: int, padding_index: int) -> None:
        super().__init__()
        # Beside sines of full size, symbols need the scale of Vaswani et al.
        scale, std = (None, None) if config.positions == "sinusoidal" else (1.0, EMBEDDING_STD)
        self.embed_tokens = TokenEmbedding(vocab_size, config.dim, padding_index, scale, std)
        self.max_positions = config.max_positions
        self.embed_positions = _added_positions(config, padding_index)
        self.rotary = _rotary_positions(config)
        self.dropout = Dropout(config.dropout)
        options = config.layer_options()
        self.layers = nn.ModuleList(SelfAttentionLayer(options) for _ in range(config.layers))
        is_pre = config.norm == "pre"
        self.norm = (
            build_norm(config.norm_type, config.dim, config.bias) if is_pre else nn.Identity()
        )
        self.layer_drop = config.layer_drop
        self.recompute = config.checkpoint_activations

    def embed(self, tokens: Tensor, start: int, positions: Tensor | None = None) -> Tensor:
        """Returns what the first layer reads, [batch, time, dim].

        Args:
            tokens: Symbol ids, int64 [batch, time].
            start: Position of the first one.
            positions: Of each symbol, int64 [batch, time], where they do not simply count on.

        Raises:
            DataError: The sequence is longer than model.max_positions.
        """
        length = tokens.size(1)
        if start + length > self.max_positions:
            raise DataError(
                f"A sequence has {start + length} positions, but model.max_positions is "
                f"{self.max_positions}. Raise it, or leave out longer examples."
            )
        rows = None
        if self.embed_positions is not None:
            rows = self.embed_positions(start, length)
            if positions is not None:
                rows = rows[positions]
        return self.dropout(self.embed_tokens(tokens, rows))

    def run(
        self, x: Tensor, mask: AttentionMask, start: int, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs the layers on embedded positions.

        Args:
            x: From `embed`.
            mask: Who sees what.
            start: Position of the first one.
            state: Empty, or what an earlier call returned: keys and values of each layer.

        Returns:
            Features, [batch, time, dim], and the state after these positions; of the layers that
            are not dropped.
        """
        rotation = None if self.rotary is None else self.rotary(start, x.size(1))
        new_state: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            if self.training and is_dropped(self.layer_drop):
                continue
            keys, values = f"keys.{index}", f"values.{index}"
            cached = (state[keys], state[values]) if state else None
            x, cached = run_layer(layer, x, mask, rotation, cached, recompute=self.recompute)
            new_state[keys], new_state[values] = cached
        return self.norm(x), new_state

    def extend(
        self, symbols: Tensor, positions: Tensor, bias: Tensor, caches: list[BeamCache]
    ) -> Tensor:
        """Returns the features of one more symbol of each prefix (see `CachingModel`)."""
        added = self.embed_positions
        rows = None if added is None else added.at(positions)[:, None]
        x = self.dropout(self.embed_tokens(symbols, rows))
        # Of each sentence, for all its heads and prefixes.
        rotation = None if self.rotary is None else self.rotary.at(positions)[:, None, None, None]
        mask = AttentionMask(bias, bias.size(2), bias.size(3), x)
        for index, layer in enumerate(self.layers):
            x, _ = layer(x, mask, rotation, caches[index])
        features: Tensor = self.norm(x)
        return features


def output_layer(
    config: TransformerStackConfig, embedding: TokenEmbedding, context: ModelContext
) -> nn.Linear:
    """Returns the layer from features to logits, tied to the embedding where that is set."""
    layer = nn.Linear(config.dim, context.target_vocab_size, bias=False)
    if config.tie_embeddings:
        layer.weight = embedding.weight
    else:
        nn.init.normal_(layer.weight, std=EMBEDDING_STD)
    return layer


def _added_positions(config: TransformerStackConfig, padding_index: int) -> Positions | None:
    if config.positions not in ("learned", "sinusoidal"):
        return None
    kind = "marian" if config.positions == "sinusoidal" else "learned"
    positions = build_positions(kind, config.max_positions, config.dim, padding_index)
    if isinstance(positions, LearnedPositions):
        nn.init.normal_(positions.weight, std=EMBEDDING_STD)
    return positions


def _rotary_positions(config: TransformerStackConfig) -> RotaryPositions | None:
    if config.positions != "rotary":
        return None
    head = config.dim // config.num_heads
    return RotaryPositions(config.max_positions, head, config.rotary_base)


def document_bias(document_ids: Tensor, dtype: torch.dtype, masked_score: float) -> Tensor:
    """Returns what to add to scores so that a position sees its own document up to itself.

    Args:
        document_ids: int64 [batch, time]; equal numbers stand next to one another.
        dtype: Floating type of the result.
        masked_score: Added where a key is hidden.

    Returns:
        [batch, 1, time, time].
    """
    is_hidden = document_ids[:, :, None] != document_ids[:, None, :]
    is_hidden = is_hidden | torch.ones_like(is_hidden[0]).triu(1)
    return is_hidden[:, None].to(dtype) * masked_score


def positions_in_documents(document_ids: Tensor) -> Tensor:
    """Returns how far each position is from the first one of its document, int64 [batch, time]."""
    index = torch.arange(document_ids.size(1), device=document_ids.device)
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    return index - torch.where(begins, index, 0).cummax(dim=1).values
