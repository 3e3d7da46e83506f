"""Attention in groups against plain loops over heads, and each kernel against the other."""

import math

import pytest
import torch
from torch import Tensor

import seqtrain.modules.grouped_attention as grouped_attention
from seqtrain.modules.attention import SelfAttention, causal_bias, padding_bias
from seqtrain.modules.dropout import Dropout
from seqtrain.modules.grouped_attention import AttentionMask, GroupedAttention
from seqtrain.modules.rotary import RotaryPositions, rotate


def plain_attention(
    module: GroupedAttention, x: Tensor, allowed: Tensor, rotation: Tensor | None
) -> Tensor:
    """One head and one query at a time; allowed is bool [batch, time, time]."""
    batch, time, _ = x.shape
    group, head = module.group, module.head
    rows = module.qkv_proj(x).view(batch, time, -1, group + 2, head)
    mixed = torch.zeros(batch, time, rows.size(2), group, head, dtype=x.dtype)
    for b in range(batch):
        for k in range(rows.size(2)):
            keys, values = rows[b, :, k, group], rows[b, :, k, group + 1]
            keys = keys if rotation is None else rotate(keys, rotation)
            for g in range(group):
                queries = rows[b, :, k, g]
                queries = queries if rotation is None else rotate(queries, rotation)
                for t in range(time):
                    scores = (keys @ queries[t]) / math.sqrt(head)
                    scores = scores.masked_fill(~allowed[b, t], -math.inf)
                    mixed[b, t, k, g] = torch.softmax(scores, dim=0) @ values
    return module.out_proj(mixed.flatten(2))


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("is_rotary", [False, True])
def test_groups_share_keys_and_values(heads: int, key_heads: int, is_rotary: bool) -> None:
    torch.manual_seed(0)
    module = GroupedAttention(16, heads, key_heads, 0.0, has_bias=True).double()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    rotation = RotaryPositions(8, 4)(0, 5) if is_rotary else None
    allowed = torch.ones(5, 5, dtype=torch.bool).tril().expand(2, 5, 5)
    found, (keys, values) = module(x, AttentionMask(None, 5, 5, x), rotation)
    expected = plain_attention(module, x, allowed, rotation)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert keys.shape == values.shape == (2, key_heads, 5, 4)


def test_a_bias_of_each_row_hides_what_it_says() -> None:
    torch.manual_seed(0)
    module = GroupedAttention(16, 4, 2, 0.0, has_bias=False).double()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    mask = AttentionMask(padding_bias(padding, x.dtype), 5, 5, x)
    expected = plain_attention(module, x, ~padding[:, None].expand(2, 5, 5), None)
    torch.testing.assert_close(module(x, mask)[0], expected, rtol=0, atol=1e-12)


def test_with_one_query_a_key_it_is_self_attention() -> None:
    torch.manual_seed(0)
    old = SelfAttention(16, 4)
    new = GroupedAttention(16, 4, 4, 0.0, has_bias=True)
    new.load_state_dict(old.state_dict())
    x = torch.randn(2, 5, 16)
    expected, _ = old(x, causal_bias(5, 5, x))
    torch.testing.assert_close(new(x, AttentionMask(None, 5, 5, x))[0], expected)


@pytest.mark.parametrize("key_heads", [4, 2])
def test_the_fused_kernel_of_long_sequences_agrees_with_products(
    key_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = GroupedAttention(16, 4, key_heads, 0.0, has_bias=True)
    x = torch.randn(2, 40, 16)
    results = []
    for first_fused in (1, 1000):
        monkeypatch.setattr(grouped_attention, "FUSED_ON_CPU_FROM", first_fused)
        leaf = x.clone().requires_grad_()
        module.zero_grad()
        output, _ = module(leaf, AttentionMask(None, 40, 40, x))
        output.square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in module.parameters()]  # type: ignore[union-attr] # backward has run
        results.append([output.detach(), leaf.grad, *gradients])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_dropout_of_weights_is_that_of_the_seed_at_every_length() -> None:
    torch.manual_seed(0)
    module = GroupedAttention(8, 2, 1, 0.5, has_bias=True)
    assert isinstance(module.dropout, Dropout)
    length = grouped_attention.FUSED_ON_CPU_FROM
    x = torch.randn(1, length, 8)
    mask = AttentionMask(None, length, length, x)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(module(x, mask)[0])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
