"""The transformer against plain loops over positions and heads, in float64."""

import math

import pytest
import torch
from torch import Tensor, nn

from seqtrain.models.base import ModelContext
from seqtrain.models.transformer import TransformerConfig, TransformerModel
from seqtrain.modules.attention import unpack_projections

CONTEXT = ModelContext(source_vocab_size=20, target_vocab_size=20, shared_vocab=True)
HEADS, HEAD = 2, 4
PADDING = 1


def _attention(
    queries_of: Tensor, memory_of: Tensor, weights: list[Tensor], visible: list[list[int]]
) -> Tensor:
    """Returns one sentence's attention, [time, dim], one head and query at a time."""
    query_weight, key_weight, value_weight = weights
    rows = []
    for position, query_input in enumerate(queries_of):
        heads = []
        for head in range(HEADS):
            part = slice(head * HEAD, (head + 1) * HEAD)
            query = query_weight[part] @ query_input
            scores, values = [], []
            for other in visible[position]:
                scores.append(query @ (key_weight[part] @ memory_of[other]) / math.sqrt(HEAD))
                values.append(value_weight[part] @ memory_of[other])
            exps = [score.exp() for score in scores]
            heads.append(sum(e / sum(exps) * v for e, v in zip(exps, values, strict=True)))
        rows.append(torch.cat(heads))
    return torch.stack(rows)


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * norm.weight


def _around(block, norm: nn.LayerNorm, x: Tensor, pre: bool) -> Tensor:
    return x + block(_norm(norm, x)) if pre else _norm(norm, x + block(x))


def _embed(model: TransformerModel, tokens: list[int], pre: bool) -> Tensor:
    dim = HEADS * HEAD
    rows = []
    for position, token in enumerate(tokens):
        if pre:
            angles = [
                (position + PADDING + 1) * 10000 ** (-i / (dim / 2 - 1)) for i in range(dim // 2)
            ]
        else:
            angles = [position / 10000 ** (2 * i / dim) for i in range(dim // 2)]
        table = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        vector = model.encoder.embed_tokens.weight[token] * math.sqrt(dim)
        rows.append(vector + torch.tensor(table, dtype=torch.float64))
    return torch.stack(rows)


def _feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    return (x @ layer.fc1.weight.T).clamp(min=0) @ layer.fc2.weight.T


def _reference(model: TransformerModel, source: list[int], target: list[int], pre: bool) -> Tensor:
    everything = [list(range(len(source)))]
    x = _embed(model, source, pre)
    for layer in model.encoder.layers:
        weights = unpack_projections(layer.self_attn.qkv_proj.weight, 3, HEADS)
        out = layer.self_attn.out_proj.weight.T

        def attend(y: Tensor, weights=weights, out=out) -> Tensor:
            return _attention(y, y, weights, everything * len(source)) @ out

        x = _around(attend, layer.self_attn_layer_norm, x, pre)
        x = _around(lambda y, layer=layer: _feed_forward(layer, y), layer.final_layer_norm, x, pre)
    memory = _norm(model.encoder.layer_norm, x) if pre else x
    x = _embed(model, target, pre)
    for layer, projection in zip(
        model.decoder.layers, model.decoder.memory_projections, strict=True
    ):
        weights = unpack_projections(layer.self_attn.qkv_proj.weight, 3, HEADS)
        cross = [
            *unpack_projections(layer.encoder_attn.q_proj.weight, 1, HEADS),
            *unpack_projections(projection.kv_proj.weight, 2, HEADS),
        ]
        past = [list(range(position + 1)) for position in range(len(target))]

        def attend(y: Tensor, weights=weights, layer=layer, past=past) -> Tensor:
            return _attention(y, y, weights, past) @ layer.self_attn.out_proj.weight.T

        def look(y: Tensor, weights=cross, layer=layer) -> Tensor:
            mixed = _attention(y, memory, weights, everything * len(target))
            return mixed @ layer.encoder_attn.out_proj.weight.T

        x = _around(attend, layer.self_attn_layer_norm, x, pre)
        x = _around(look, layer.encoder_attn_layer_norm, x, pre)
        x = _around(lambda y, layer=layer: _feed_forward(layer, y), layer.final_layer_norm, x, pre)
    features = _norm(model.decoder.layer_norm, x) if pre else x
    return features @ model.decoder.output_projection.weight.T


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_transformer_equals_plain_loops(norm: str) -> None:
    torch.set_default_dtype(torch.float64)  # the position tables are kept in it, too
    try:
        torch.manual_seed(0)
        config = TransformerConfig(
            dim=8, ffn_dim=16, num_heads=2, encoder_layers=2, decoder_layers=2, norm=norm
        )
        model = TransformerModel.from_config(config, CONTEXT).eval()
        with torch.no_grad():
            logits = model(
                torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1]]),
                torch.tensor([[2, 5, 6, 7], [2, 9, 7, 1]]),
            ).logits
            first = _reference(model, [5, 6, 7, 8, 2], [2, 5, 6, 7], norm == "pre")
            second = _reference(model, [9, 4, 2], [2, 9, 7], norm == "pre")
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(logits[0], first, rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[1, :3], second, rtol=0, atol=1e-12)


def test_packed_projections_begin_with_the_spread_of_separate_ones() -> None:
    torch.manual_seed(0)
    model = TransformerModel.from_config(TransformerConfig(), CONTEXT)
    layer = model.decoder.layers[0]
    bound = math.sqrt(6 / (2 * 256)) / math.sqrt(2)  # Xavier of 256 x 256 with gain 1/sqrt(2)
    for weight in (
        layer.self_attn.qkv_proj.weight,
        layer.encoder_attn.q_proj.weight,
        model.decoder.memory_projections[0].kv_proj.weight,
    ):
        assert 0.999 * bound < weight.abs().max().item() <= bound
