"""Settings of stacks of layers: what is refused, left out, computed again, and written first."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtrain.errors import ConfigError, DataError
from seqtrain.models.base import ModelContext
from seqtrain.models.transformer_encoder import TransformerEncoderConfig, TransformerEncoderModel
from seqtrain.models.transformer_lm import TransformerLM, TransformerLMConfig
from seqtrain.models.transformer_stack import document_bias, positions_in_documents
from seqtrain.modules.attention import causal_bias

CONTEXT = ModelContext(source_vocab_size=20, target_vocab_size=20, shared_vocab=True)
TOKENS = torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1]])


def make(**fields: Any) -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM.from_config(TransformerLMConfig(**{"dim": 16, **fields}), CONTEXT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", 18),
        ("num_heads", 0),
        ("num_key_heads", 3),
        ("ffn_dim", -1),
        ("layers", 0),
        ("dropout", 1.0),
        ("activation", "tanh"),
        ("norm", "both"),
        ("norm_type", "batchnorm"),
        ("positions", "marian"),
        ("rotary_base", 1.0),
        ("max_positions", 0),
    ],
)
def test_a_wrong_setting_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{field} must"):
        TransformerLMConfig(**{"dim": 16, field: value})


def test_rotary_positions_need_an_even_width_of_heads() -> None:
    with pytest.raises(ConfigError, match=r"model\.dim .* rotary"):
        TransformerLMConfig(dim=12, num_heads=4)


def test_a_gated_block_has_about_the_parameters_of_a_plain_one() -> None:
    plain, gated = TransformerLMConfig(dim=768), TransformerLMConfig(dim=768, activation="swiglu")
    assert plain.inner_dim == 3072
    assert gated.inner_dim == 2048


def test_a_task_without_a_target_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a target text"):
        TransformerLM.from_config(TransformerLMConfig(), ModelContext(num_channels=1))


def test_a_sequence_that_is_too_long_is_a_data_error() -> None:
    for positions in ("rotary", "learned", "sinusoidal", "none"):
        with pytest.raises(DataError, match=r"model\.max_positions is 4"):
            make(max_positions=4, positions=positions)(TOKENS)


def test_layers_that_write_to_the_sum_begin_smaller_with_depth() -> None:
    shallow, deep = (make(dim=128, layers=n).decoder.layers[0] for n in (2, 8))
    for name, ratio in (("self_attn.out_proj", 2.0), ("feed_forward.fc1", 1.0)):
        stds = [layer.get_parameter(f"{name}.weight").detach().std() for layer in (shallow, deep)]
        assert float(stds[0] / stds[1]) == pytest.approx(ratio, rel=0.05)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_computing_activations_again_changes_no_bit(norm: str) -> None:
    found: list[dict[str, Tensor | None]] = []
    for again in (False, True):
        model = make(norm=norm, layer_drop=0.4, checkpoint_activations=again)
        torch.manual_seed(1)
        model(TOKENS).logits.square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_dropped_layers_leave_the_input_as_it_is() -> None:
    model = make(layer_drop=1.0 - 1e-9, dropout=0.0)
    expected = model.decoder.norm(model.decoder.embed(TOKENS, 0))
    torch.testing.assert_close(model(TOKENS).features, expected)
    assert not torch.equal(model.eval()(TOKENS).features, expected)


def test_positions_are_counted_from_0_in_each_document() -> None:
    ids = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 1, 2, 2, -1, -1]])
    expected = torch.tensor([[0, 1, 0, 1, 2, 0], [0, 0, 0, 1, 0, 1]])
    assert torch.equal(positions_in_documents(ids), expected)


def test_one_document_is_hidden_as_causality_hides() -> None:
    like = torch.zeros(1)
    bias = document_bias(torch.zeros(2, 4, dtype=torch.int64), like.dtype, -3.0e4)
    expected = causal_bias(4, 4, like)
    assert expected is not None
    assert torch.equal(bias, expected.expand(2, 1, 4, 4))


def make_encoder(**fields: Any) -> TransformerEncoderModel:
    torch.manual_seed(0)
    config = TransformerEncoderConfig(dim=16, layers=2, **fields)
    return TransformerEncoderModel.from_config(config, CONTEXT).double().eval()


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_an_encoder_sees_both_sides_and_no_padding(positions: str) -> None:
    model = make_encoder(positions=positions)
    logits = model(source_tokens=TOKENS).logits
    alone = model(source_tokens=TOKENS[1:, :3]).logits
    torch.testing.assert_close(logits[1:, :3], alone, rtol=0, atol=1e-7)
    changed = TOKENS.clone()
    changed[0, 4] = 11
    assert not torch.allclose(model(source_tokens=changed).logits[0, 0], logits[0, 0])


def test_a_row_of_nothing_but_padding_gives_finite_values() -> None:
    assert make_encoder()(source_tokens=torch.ones(1, 3, dtype=torch.int64)).logits.isfinite().all()


def test_an_encoder_shares_its_weight_only_between_the_same_symbols() -> None:
    model = make_encoder()
    assert isinstance(model.output_projection, nn.Linear)
    assert model.output_projection.weight is model.encoder.embed_tokens.weight
    other = ModelContext(source_vocab_size=20, target_vocab_size=5)
    with pytest.raises(ConfigError, match=r"model\.tie_embeddings=false"):
        TransformerEncoderModel.from_config(TransformerEncoderConfig(dim=16), other)
    config = TransformerEncoderConfig(dim=16, tie_embeddings=False)
    apart = TransformerEncoderModel.from_config(config, other)
    assert apart(source_tokens=TOKENS).logits.shape == (2, 5, 5)
