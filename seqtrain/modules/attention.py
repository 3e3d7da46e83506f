"""Multi-head attention with packed projections and cached keys and values."""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.modules.dropout import Dropout
from seqtrain.modules.linear import Linear
from seqtrain.modules.packing import Packing
from seqtrain.modules.short_softmax import softmax

# Finite, so that a row in which everything is masked gives no NaN, and within float16. After
# softmax it is exactly zero beside any score that a network produces.
MASKED_SCORE = -3.0e4


def padding_bias(padding_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns what to add to scores so that padded keys get no weight.

    Args:
        padding_mask: True at padding, bool [batch, time].
        dtype: Floating type of the result.

    Returns:
        [batch, 1, 1, time].
    """
    return padding_mask[:, None, None, :].to(dtype) * MASKED_SCORE


def causal_bias(num_queries: int, num_keys: int, like: Tensor) -> Tensor | None:
    """Returns what to add to scores so that no position sees a later one.

    The queries are the last `num_queries` of the `num_keys` positions.

    Args:
        num_queries: New positions.
        num_keys: New and cached positions.
        like: Gives the device and the floating type.

    Returns:
        [1, 1, num_queries, num_keys]; None where a single query sees every key.
    """
    if num_queries == 1:
        return None
    masked = like.new_full((num_queries, num_keys), MASKED_SCORE)
    return masked.triu(num_keys - num_queries + 1)[None, None]


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    dropout: Dropout,
    packing: Packing | None = None,
) -> Tensor:
    """Returns the values weighted by the softmax of scaled scores.

    On a CPU explicit products are used: at the lengths of sentences they are faster than the
    fused kernel, and they take the cheap dropout. Other devices use the fused kernel.

    Args:
        queries: [batch, heads, queries, head].
        keys: [batch, heads, keys, head].
        values: [batch, heads, keys, head].
        bias: Added to the scores, broadcast to [batch, heads, queries, keys].
        dropout: Applied to the weights.
        packing: Of the queries, if the result is wanted as rows.

    Returns:
        [batch, queries, heads * head]; with a packing [rows, heads * head].
    """
    if queries.device.type == "cpu":
        mixed = _attend_by_products(queries, keys, values, bias, dropout)
    else:
        p = dropout.p if dropout.training else 0.0
        mask = None if bias is None else bias.to(queries.dtype)
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask, dropout_p=p)
    return mixed.transpose(1, 2).flatten(2) if packing is None else packing.pack_heads(mixed)


def _attend_by_products(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, dropout: Dropout
) -> Tensor:
    batch, heads, num_queries, head = queries.shape
    scale = 1.0 / math.sqrt(head)
    queries, keys, values = queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1)
    if bias is None:
        scores = torch.bmm(queries * scale, keys.transpose(1, 2))
    else:
        # One row of the bias for each head, unless all sentences share one.
        bias = bias[0] if bias.size(0) == 1 else bias.expand(-1, heads, -1, -1).flatten(0, 1)
        scores = torch.baddbmm(bias.to(queries.dtype), queries, keys.transpose(1, 2), alpha=scale)
    # In float32 at least: more exact, and for rows as short as these faster than in bfloat16.
    dtype = torch.promote_types(scores.dtype, torch.float32)
    weights = dropout(softmax(scores, dtype))
    return torch.bmm(weights.to(values.dtype), values).view(batch, heads, num_queries, head)


def split_heads(
    packed: Tensor, parts: int, head: int, packing: Packing | None = None
) -> tuple[Tensor, ...]:
    """Returns the parts of a packed projection, each [batch, heads, time, head].

    The rows of a packed weight are ordered head by head, and by part within a head, so that a
    slice of the rows holds whole heads.

    Args:
        packed: [batch, time, heads * parts * head]; with a packing [rows, heads * parts * head].
        parts: 3 for queries, keys and values; 2 for keys and values; 1 for queries.
        head: Width of one head.
        packing: Where the rows belong, if it is rows.
    """
    if packing is not None:
        return packing.unpack_heads(packed, parts, head).unbind(0)
    batch, time, _ = packed.shape
    split = packed.view(batch, time, -1, parts, head).permute(3, 0, 2, 1, 4)
    return split.contiguous().unbind(0)


def pack_projections(parts: list[Tensor], num_heads: int) -> Tensor:
    """Returns separate projection weights (or biases) as one packed weight, as `split_heads` reads.

    Args:
        parts: Weights [dim, dim] or biases [dim], in the order queries, keys, values.
        num_heads: Number of heads.
    """
    by_head = [part.reshape(num_heads, -1, *part.shape[1:]) for part in parts]
    return torch.stack(by_head, dim=1).flatten(0, 2)


def unpack_projections(packed: Tensor, parts: int, num_heads: int) -> list[Tensor]:
    """Returns the separate projections of a packed one: the inverse of `pack_projections`."""
    split = packed.reshape(num_heads, parts, -1, *packed.shape[1:])
    return [split[:, index].flatten(0, 1) for index in range(parts)]


class AppendingCache(Protocol):
    """Keys and values of earlier positions, which new ones are written into."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Takes those of new positions, each [batch, heads, time, head]; returns all."""


Cached = tuple[Tensor, Tensor] | AppendingCache
"""Keys and values of earlier positions, each [batch, heads, past, head], or what holds them."""


class SelfAttention(nn.Module):
    """Attention of every position to the positions of the same sequence.

    Args:
        dim: Width of inputs and outputs, a multiple of num_heads.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.head = dim // num_heads
        self.qkv_proj = Linear(dim, 3 * dim)
        self.out_proj = Linear(dim, dim)
        self.dropout = Dropout(dropout)
        _initialize_inputs(self.qkv_proj)
        _initialize_output(self.out_proj)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        cached: Cached | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Mixes positions.

        Args:
            x: New positions, [batch, time, dim]; with a packing [rows, dim].
            bias: Added to the scores (see `padding_bias`, `causal_bias`).
            cached: Keys and values of earlier positions.
            packing: Where the rows belong, if x is rows.

        Returns:
            In the shape of x, and the keys and values of all positions so far.
        """
        queries, keys, values = split_heads(self.qkv_proj(x), 3, self.head, packing)
        if isinstance(cached, tuple):
            keys = torch.cat([cached[0], keys], dim=2)
            values = torch.cat([cached[1], values], dim=2)
        elif cached is not None:
            keys, values = cached.append(keys, values)
        mixed = attend(queries, keys, values, bias, self.dropout, packing)
        return self.out_proj(mixed), (keys, values)


class CrossAttention(nn.Module):
    """Attention to another sequence, whose keys and values are projected elsewhere.

    Args:
        dim: Width of inputs and outputs, a multiple of num_heads.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.head = dim // num_heads
        self.q_proj = Linear(dim, dim)
        self.out_proj = Linear(dim, dim)
        self.dropout = Dropout(dropout)
        _initialize_inputs(self.q_proj)
        _initialize_output(self.out_proj)

    def forward(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor],
        bias: Tensor | None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Mixes the memory into every position.

        Args:
            x: [batch, time, dim]; with a packing [rows, dim].
            memory: Keys and values from MemoryProjection.
            bias: Added to the scores (see `padding_bias`).
            packing: Where the rows belong, if x is rows.

        Returns:
            In the shape of x.
        """
        (queries,) = split_heads(self.q_proj(x), 1, self.head, packing)
        return self.out_proj(attend(queries, *memory, bias, self.dropout, packing))

    def weights(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor],
        bias: Tensor | None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Returns the weights that `forward` mixes the memory with, [batch, heads, time, keys]."""
        (queries,) = split_heads(self.q_proj(x), 1, self.head, packing)
        scores = queries @ memory[0].transpose(2, 3) / math.sqrt(self.head)
        scores = scores if bias is None else scores + bias
        return torch.softmax(scores.float(), dim=-1)


class MemoryProjection(nn.Module):
    """Keys and values of a sequence for one CrossAttention, computed once for all its queries.

    Args:
        dim: Width of the sequence, a multiple of num_heads.
        num_heads: Number of heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.head = dim // num_heads
        self.kv_proj = Linear(dim, 2 * dim)
        _initialize_inputs(self.kv_proj)

    def forward(self, encoded: Tensor, packing: Packing | None = None) -> tuple[Tensor, Tensor]:
        """Returns keys and values, each [batch, heads, time, head].

        Args:
            encoded: [batch, time, dim]; with a packing [rows, dim].
            packing: Where the rows belong, if it is rows.
        """
        keys, values = split_heads(self.kv_proj(encoded), 2, self.head, packing)
        return keys, values


def _initialize_inputs(linear: nn.Linear) -> None:
    # Xavier with gain 1/sqrt(2) for each projection alone, whatever is packed together.
    bound = math.sqrt(6.0 / (4 * linear.in_features))
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)


def _initialize_output(linear: nn.Linear) -> None:
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
