"""Layers left out at random, and layers computed again in the backward pass."""

from typing import Any

import pytest
import torch
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext
from seqtrain.models.transformer import TransformerConfig, TransformerModel

CONTEXT = ModelContext(source_vocab_size=20, target_vocab_size=20, shared_vocab=True)
TOKENS = torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1]])


def make(**fields: Any) -> TransformerModel:
    torch.manual_seed(0)
    config = TransformerConfig(
        dim=8, ffn_dim=16, num_heads=2, attention_dropout=0.2, activation_dropout=0.2, **fields
    )
    return TransformerModel.from_config(config, CONTEXT)


def logits(model: TransformerModel, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    found: Tensor = model(source_tokens=TOKENS, prev_output_tokens=TOKENS).logits
    return found


def gradients(model: TransformerModel) -> dict[str, Tensor | None]:
    logits(model).square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("layer_drop", [0.0, 0.4])
def test_computing_activations_again_changes_no_bit(norm: str, layer_drop: float) -> None:
    kept = make(norm=norm, layer_drop=layer_drop)
    again = make(norm=norm, layer_drop=layer_drop, checkpoint_activations=True)
    assert torch.equal(logits(kept), logits(again))
    torch.testing.assert_close(gradients(kept), gradients(again), rtol=0, atol=0)


def test_computing_activations_again_keeps_less_for_the_backward_pass() -> None:
    kept: dict[bool, int] = {}
    for again in (False, True):
        sizes: list[int] = []

        def pack(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        model = make(checkpoint_activations=again)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits(model)
        kept[again] = sum(sizes)
    assert kept[True] < kept[False] / 2


def test_a_dropped_layer_leaves_its_input_as_it_is() -> None:
    model = make(layer_drop=1.0 - 1e-9, dropout=0.0)
    seen: list[int] = []
    for layer in [*model.encoder.layers, *model.decoder.layers]:
        layer.register_forward_hook(lambda *_: seen.append(1))
    embedded = model.decoder.embed_tokens(TOKENS, model.decoder.embed_positions(0, 5))
    expected = model.decoder.output_projection(model.decoder.layer_norm(embedded))
    real = CONTEXT.padding_index != TOKENS
    torch.testing.assert_close(logits(model)[real], expected[real])
    assert not seen


def test_layers_are_dropped_independently_with_the_given_probability() -> None:
    model = make(layer_drop=0.3, encoder_layers=4, decoder_layers=4)
    ran: list[int] = []
    for index, layer in enumerate([*model.encoder.layers, *model.decoder.layers]):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    for seed in range(200):
        logits(model, seed)
    dropped = 1.0 - torch.tensor(ran).bincount(minlength=8) / 200
    assert (dropped - 0.3).abs().max() < 0.12
    assert dropped.unique().numel() > 1


def test_evaluation_drops_no_layer() -> None:
    plain, dropping = make().eval(), make(layer_drop=0.9).eval()
    assert torch.equal(logits(plain), logits(dropping))


def test_a_certain_drop_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.layer_drop"):
        make(layer_drop=1.0)
