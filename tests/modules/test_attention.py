"""Attention against torch's own, and its handling of padding and caches."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.modules.attention import (
    CrossAttention,
    MemoryProjection,
    SelfAttention,
    attend,
    causal_bias,
    pack_projections,
    padding_bias,
    unpack_projections,
)
from seqtrain.modules.dropout import Dropout


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _torch_attention(weight: Tensor, out: nn.Linear) -> nn.MultiheadAttention:
    """Returns torch's attention with the weights of ours: queries, keys, values in thirds."""
    theirs = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(out.weight)
        theirs.out_proj.bias.copy_(out.bias)
    return theirs


def test_self_attention_equals_torchs() -> None:
    ours = SelfAttention(dim=8, num_heads=2).double().eval()
    weight = torch.cat(unpack_projections(ours.qkv_proj.weight, 3, num_heads=2))
    theirs = _torch_attention(weight, ours.out_proj)
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] + [True] * 4])
    expected, _ = theirs(x, x, x, key_padding_mask=mask)
    torch.testing.assert_close(ours(x, padding_bias(mask, x.dtype))[0], expected)


def test_cross_attention_equals_torchs() -> None:
    ours = CrossAttention(dim=8, num_heads=2).double().eval()
    projection = MemoryProjection(dim=8, num_heads=2).double()
    keys, values = unpack_projections(projection.kv_proj.weight, 2, num_heads=2)
    weight = torch.cat([ours.q_proj.weight, keys, values])
    theirs = _torch_attention(weight, ours.out_proj)
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    source = torch.randn(2, 6, 8, dtype=torch.float64)
    expected, _ = theirs(x, source, source)
    torch.testing.assert_close(ours(x, projection(source), None), expected)


def test_both_ways_to_attend_agree() -> None:
    queries, keys, values = torch.randn(3, 2, 4, 5, 8, dtype=torch.float64).unbind()
    bias = padding_bias(torch.tensor([[False] * 5, [False] * 2 + [True] * 3]), torch.float64)
    fused = F.scaled_dot_product_attention(queries, keys, values, bias).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attend(queries, keys, values, bias, Dropout(0.0)), fused)


def test_cached_positions_change_nothing() -> None:
    attention = SelfAttention(dim=8, num_heads=2).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    whole, _ = attention(x, causal_bias(5, 5, x))
    first, cached = attention(x[:, :2], causal_bias(2, 2, x))
    second, cached = attention(x[:, 2:4], causal_bias(2, 4, x), cached)
    third, _ = attention(x[:, 4:], causal_bias(1, 5, x), cached)
    torch.testing.assert_close(torch.cat([first, second, third], dim=1), whole)


def test_padding_does_not_change_real_positions() -> None:
    attention = SelfAttention(dim=8, num_heads=2)
    x = torch.randn(1, 4, 8)
    padded = torch.cat([x, torch.full((1, 2, 8), 9.0)], dim=1)
    bias = padding_bias(torch.tensor([[False] * 4 + [True] * 2]), torch.float32)
    torch.testing.assert_close(attention(padded, bias)[0][:, :4], attention(x, None)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_fully_padded_row_gives_finite_values_and_gradients(dtype: torch.dtype) -> None:
    attention = SelfAttention(dim=8, num_heads=2).to(dtype)
    x = torch.randn(2, 3, 8, dtype=dtype, requires_grad=True)
    bias = padding_bias(torch.tensor([[True] * 3, [False] * 3]), dtype)
    attention(x, bias)[0].sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_packing_and_unpacking_are_inverse() -> None:
    parts = list(torch.randn(3, 8, 8))
    for before, after in zip(
        parts, unpack_projections(pack_projections(parts, 2), 3, 2), strict=True
    ):
        assert torch.equal(before, after)


def test_a_slice_of_a_packed_weight_holds_whole_heads() -> None:
    attention = SelfAttention(dim=8, num_heads=2).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    _, (keys, values) = attention(x, None)
    attention.qkv_proj.weight = nn.Parameter(attention.qkv_proj.weight[12:])  # the second head
    attention.qkv_proj.bias = nn.Parameter(attention.qkv_proj.bias[12:])
    attention.out_proj = nn.Linear(4, 8, dtype=torch.float64)
    _, (half_keys, half_values) = attention(x, None)
    torch.testing.assert_close(half_keys, keys[:, 1:])
    torch.testing.assert_close(half_values, values[:, 1:])
