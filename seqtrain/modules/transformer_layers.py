"""Layers of the transformer (Vaswani et al. 2017), with normalisation before or after a block."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.modules.attention import Cached, CrossAttention, SelfAttention
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.linear import Linear
from seqtrain.modules.packing import Packing


def _same(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": _same, "gelu": F.gelu}
"""What is left to do behind the first layer of a feed-forward block, which does the ReLU itself."""


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """What encoder and decoder layers have in common.

    Args:
        dim: Width between blocks, a multiple of num_heads.
        ffn_dim: Width inside the feed-forward block.
        num_heads: Attention heads.
        dropout: On the output of every block.
        attention_dropout: On attention weights.
        activation_dropout: Inside the feed-forward block.
        activation: "relu" or "gelu".
        pre_norm: Normalise the input of a block, not the sum after it.
    """

    dim: int
    ffn_dim: int
    num_heads: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation: str = "relu"
    pre_norm: bool = True


class _Layer(nn.Module):
    """What both kinds of layers hold: self-attention and a feed-forward block."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.pre_norm = options.pre_norm
        self.self_attn = SelfAttention(options.dim, options.num_heads, options.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(options.dim)
        self.fc1 = _xavier_linear(options.dim, options.ffn_dim, options.activation == "relu")
        self.fc2 = _xavier_linear(options.ffn_dim, options.dim)
        self.final_layer_norm = nn.LayerNorm(options.dim)
        self.activation = ACTIVATIONS[options.activation]
        self.dropout = Dropout(options.dropout)
        self.activation_dropout = Dropout(options.activation_dropout)

    def _around(self, norm: nn.Module) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Returns what comes before a block and what comes after its residual connection."""
        return (norm, _same) if self.pre_norm else (_same, norm)

    def _feed_forward(self, x: Tensor) -> Tensor:
        before, after = self._around(self.final_layer_norm)
        hidden = self.activation_dropout(self.activation(self.fc1(before(x))))
        return after(x + self.dropout(self.fc2(hidden)))


class EncoderLayer(_Layer):
    """Self-attention and a feed-forward block, each with a residual connection."""

    def forward(self, x: Tensor, bias: Tensor | None, packing: Packing | None = None) -> Tensor:
        """Runs the layer.

        Args:
            x: [batch, time, dim]; with a packing [rows, dim].
            bias: Hides padding (see `padding_bias`).
            packing: Where the rows belong, if x is rows.

        Returns:
            In the shape of x.
        """
        before, after = self._around(self.self_attn_layer_norm)
        mixed, _ = self.self_attn(before(x), bias, packing=packing)
        return self._feed_forward(after(x + self.dropout(mixed)))


class DecoderLayer(_Layer):
    """Self-attention, attention to the source, and a feed-forward block."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__(options)
        self.encoder_attn = CrossAttention(
            options.dim, options.num_heads, options.attention_dropout
        )
        self.encoder_attn_layer_norm = nn.LayerNorm(options.dim)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        memory: tuple[Tensor, Tensor],
        memory_bias: Tensor,
        cached: Cached | None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Runs the layer on new positions.

        Args:
            x: [batch, time, dim]; with a packing [rows, dim].
            bias: Hides later positions (see `causal_bias`).
            memory: Keys and values of the source (see `MemoryProjection`).
            memory_bias: Hides padding of the source.
            cached: Keys and values of earlier positions.
            packing: Where the rows belong, if x is rows.

        Returns:
            In the shape of x, and the keys and values of all positions so far.
        """
        before, after = self._around(self.self_attn_layer_norm)
        mixed, known = self.self_attn(before(x), bias, cached, packing)
        x = after(x + self.dropout(mixed))
        before, after = self._around(self.encoder_attn_layer_norm)
        mixed = self.encoder_attn(before(x), memory, memory_bias, packing)
        x = after(x + self.dropout(mixed))
        return self._feed_forward(x), known


def _xavier_linear(inputs: int, outputs: int, relu: bool = False) -> Linear:
    linear = Linear(inputs, outputs, relu)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
