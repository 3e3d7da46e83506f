"""The layer of language models and encoders: self-attention and a feed-forward block."""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from seqtrain.modules.attention import Cached
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.feed_forward import build_feed_forward
from seqtrain.modules.grouped_attention import AttentionMask, GroupedAttention
from seqtrain.modules.norms import build_norm


@dataclass(frozen=True, kw_only=True)
class SelfAttentionOptions:
    """What the layers of a stack have in common.

    Args:
        dim: Width between blocks, a multiple of num_heads.
        ffn_dim: Width inside the feed-forward block.
        num_heads: Query heads.
        num_key_heads: Heads of keys and values, a divisor of num_heads.
        num_layers: Layers of the stack; the deeper it is, the smaller each begins.
        dropout: On the output of every block.
        attention_dropout: On attention weights.
        activation_dropout: Inside the feed-forward block.
        activation: See `build_feed_forward`.
        norm_type: See `build_norm`.
        pre_norm: Normalise the input of a block, not the sum after it.
        has_bias: Whether linear layers and layernorms add biases.
    """

    dim: int
    ffn_dim: int
    num_heads: int
    num_key_heads: int
    num_layers: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation: str = "gelu"
    norm_type: str = "layernorm"
    pre_norm: bool = True
    has_bias: bool = True


class SelfAttentionLayer(nn.Module):
    """Two blocks, each with a residual connection, normalised before or after."""

    def __init__(self, options: SelfAttentionOptions) -> None:
        super().__init__()
        self.pre_norm = options.pre_norm
        self.self_attn = GroupedAttention(
            options.dim,
            options.num_heads,
            options.num_key_heads,
            options.attention_dropout,
            options.has_bias,
        )
        self.self_attn_norm = build_norm(options.norm_type, options.dim, options.has_bias)
        self.feed_forward = build_feed_forward(
            options.dim,
            options.ffn_dim,
            options.activation,
            options.activation_dropout,
            options.has_bias,
        )
        self.feed_forward_norm = build_norm(options.norm_type, options.dim, options.has_bias)
        self.dropout = Dropout(options.dropout)
        self._initialize(options)

    def forward(
        self,
        x: Tensor,
        mask: AttentionMask,
        rotation: Tensor | None,
        cached: Cached | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Runs the layer on new positions.

        Args:
            x: [batch, time, dim].
            mask: Who sees what.
            rotation: Of rotary positions, or None.
            cached: Keys and values of earlier positions.

        Returns:
            [batch, time, dim], and the keys and values of all positions so far.
        """
        if self.pre_norm:
            mixed, known = self.self_attn(self.self_attn_norm(x), mask, rotation, cached)
            x = x + self.dropout(mixed)
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), known
        mixed, known = self.self_attn(x, mask, rotation, cached)
        x = self.self_attn_norm(x + self.dropout(mixed))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x))), known

    def _initialize(self, options: SelfAttentionOptions) -> None:
        """Normal weights; those that write to the residual stream shrink with the depth.

        The standard deviation is that of Nguyen and Salazar (2019), sqrt(2 / (5 dim)), and the
        factor is GPT-2's, 1 / sqrt(number of blocks).
        """
        std = math.sqrt(2.0 / (5.0 * options.dim))
        depth_factor = (2.0 * options.num_layers) ** -0.5
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                writes = name.endswith(("out_proj", "fc2"))
                nn.init.normal_(module.weight, std=std * (depth_factor if writes else 1.0))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
