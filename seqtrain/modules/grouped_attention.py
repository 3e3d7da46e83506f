"""Self-attention whose query heads share keys and values in groups (Ainslie et al. 2023)."""

import math
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.modules.attention import Cached, causal_bias
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.rotary import rotate

# Below this many positions explicit products are faster on a CPU than the fused kernel.
FUSED_ON_CPU_FROM = 256


class AttentionMask:
    """Which keys each query sees; what it costs to say so is paid only where it is needed.

    Args:
        bias: Added to the scores, [batch or 1, 1, queries, keys]; None for causality alone, where
            no position sees a later one and the queries are the last of the keys.
        num_queries: New positions.
        num_keys: New and earlier positions.
        like: Gives the device and the floating type.
    """

    def __init__(self, bias: Tensor | None, num_queries: int, num_keys: int, like: Tensor) -> None:
        self.is_causal = bias is None
        self.is_square = num_queries == num_keys
        self._given = bias
        self._size = (num_queries, num_keys)
        self._like = like.new_empty(0)

    @cached_property
    def bias(self) -> Tensor | None:
        """What to add to the scores; None where every query sees every key."""
        return causal_bias(*self._size, self._like) if self.is_causal else self._given


def attend_in_groups(
    queries: Tensor, keys: Tensor, values: Tensor, mask: AttentionMask, dropout: Dropout
) -> Tensor:
    """Returns the values weighted by the softmax of scaled scores.

    Args:
        queries: [batch, key heads, group, queries, head].
        keys: [batch, key heads, keys, head].
        values: [batch, key heads, keys, head].
        mask: Who sees what.
        dropout: Applied to the weights.

    Returns:
        [batch, queries, key heads * group * head].
    """
    p = dropout.p if dropout.training else 0.0
    # A graph that is exported must not depend on the length.
    is_short = torch.compiler.is_exporting() or queries.size(3) < FUSED_ON_CPU_FROM
    is_long = mask.is_causal and mask.is_square and not is_short
    if queries.device.type == "cpu" and (p > 0.0 or not is_long):
        mixed = _attend_by_products(queries, keys, values, mask.bias, dropout)
    else:
        mixed = _attend_fused(queries, keys, values, mask, p)
    return mixed.transpose(1, 2).flatten(2)


def _attend_fused(
    queries: Tensor, keys: Tensor, values: Tensor, mask: AttentionMask, p: float
) -> Tensor:
    group = queries.size(2)
    if group > 1:
        keys, values = (x.repeat_interleave(group, dim=1) for x in (keys, values))
    is_causal = mask.is_causal and mask.is_square
    bias = None if is_causal or mask.bias is None else mask.bias.to(queries.dtype)
    return F.scaled_dot_product_attention(
        queries.flatten(1, 2), keys, values, bias, dropout_p=p, is_causal=is_causal
    )


def _attend_by_products(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, dropout: Dropout
) -> Tensor:
    batch, key_heads, group, num_queries, head = queries.shape
    scale = 1.0 / math.sqrt(head)
    # A group's queries are rows of one product: keys and values are not repeated.
    queries = queries.flatten(0, 1).flatten(1, 2)
    keys, values = keys.flatten(0, 1), values.flatten(0, 1)
    if bias is not None and bias.size(0) == 1:
        shared = bias[0].to(queries.dtype).repeat(1, group, 1)
        scores = torch.baddbmm(shared, queries, keys.transpose(1, 2), alpha=scale)
    else:
        scores = torch.bmm(queries * scale, keys.transpose(1, 2))
        if bias is not None:
            scores.view(batch, key_heads * group, num_queries, -1).add_(bias)
    weights = dropout(torch.softmax(scores, dim=-1))
    mixed = torch.bmm(weights.to(values.dtype), values)
    return mixed.view(batch, key_heads * group, num_queries, head)


class GroupedAttention(nn.Module):
    """Attention of every position to positions of the same sequence.

    The rows of the packed projection are ordered by key head: the queries of its group, its key,
    its value; with one query for each key head that is the order of SelfAttention.

    Args:
        dim: Width of inputs and outputs, a multiple of num_heads.
        num_heads: Query heads.
        num_key_heads: Heads of keys and values; must divide num_heads.
        dropout: Probability of dropping an attention weight.
        has_bias: Whether the projections add biases.
    """

    def __init__(
        self, dim: int, num_heads: int, num_key_heads: int, dropout: float, has_bias: bool
    ) -> None:
        super().__init__()
        self.head = dim // num_heads
        self.group = num_heads // num_key_heads
        rows = num_key_heads * (self.group + 2) * self.head
        self.qkv_proj = nn.Linear(dim, rows, bias=has_bias)
        self.out_proj = nn.Linear(dim, dim, bias=has_bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: AttentionMask,
        rotation: Tensor | None = None,
        cached: Cached | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Mixes positions.

        Args:
            x: New positions, [batch, time, dim].
            mask: Who sees what.
            rotation: Turns queries and keys (see `RotaryPositions`).
            cached: Keys and values of earlier positions.

        Returns:
            [batch, time, dim], and the keys and values of all positions so far.
        """
        batch, time, _ = x.shape
        split = self.qkv_proj(x).view(batch, time, -1, self.group + 2, self.head)
        split = split.permute(0, 2, 3, 1, 4).contiguous()
        turned, values = split[:, :, :-1], split[:, :, -1]
        if rotation is not None:
            turned = rotate(turned, rotation)
        queries, keys = turned[:, :, :-1], turned[:, :, -1]
        if isinstance(cached, tuple):
            keys = torch.cat([cached[0], keys], dim=2)
            values = torch.cat([cached[1], values], dim=2)
        elif cached is not None:
            keys, values = cached.append(keys, values)
        mixed = attend_in_groups(queries, keys, values, mask, self.dropout)
        return self.out_proj(mixed), (keys, values)
