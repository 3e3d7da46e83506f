"""What every language model must do, on each of ours."""

from typing import Any

import pytest
import torch
from torch import Tensor

from seqtrain.models.base import MODELS, DecoderModel, ModelContext
from seqtrain.models.lstm_lm import LSTMLMConfig
from seqtrain.models.transformer_lm import TransformerLMConfig

CONTEXT = ModelContext(target_vocab_size=20)
SMALL: dict[str, dict[str, Any]] = {
    "gpt": {"positions": "learned"},
    "llama": {"num_key_heads": 2, "activation": "swiglu", "norm_type": "rmsnorm", "bias": False},
    "post": {"norm": "post", "positions": "sinusoidal", "activation": "relu"},
    "no positions": {"positions": "none", "tie_embeddings": False},
}
TOKENS = torch.tensor([[2, 5, 6, 7, 8, 2], [2, 9, 4, 2, 1, 1], [2, 11, 12, 13, 14, 15]])


def build(kind: str, **fields: Any) -> DecoderModel:
    torch.manual_seed(0)
    name = "lstm_lm" if kind == "lstm" else "transformer_lm"
    section = {"name": name, "dim": 8, "layers": 2}
    if kind != "lstm":
        section |= {"num_heads": 4, **SMALL[kind]}
    entry = MODELS.get(name)
    model = entry.cls.from_config(MODELS.parse(section | fields), CONTEXT)
    assert isinstance(model, DecoderModel)
    return model


every_kind = pytest.mark.parametrize("kind", ["lstm", *SMALL])


@every_kind
def test_incremental_decoding_equals_the_whole_in_fp32(kind: str) -> None:
    model = build(kind).eval()
    state: dict[str, Tensor] | None = None
    steps = []
    for length in range(1, TOKENS.size(1) + 1):
        output, state = model.decode(TOKENS[:, :length], {}, state)
        assert output.features.size(1) == 1
        steps.append(output.logits)
    whole = model(prev_output_tokens=TOKENS).logits
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=0, atol=2e-6)


@every_kind
def test_a_state_may_begin_with_several_symbols_and_rows_can_be_selected(kind: str) -> None:
    model = build(kind).double().eval()
    _, state = model.decode(TOKENS[:, :5], {}, None)
    rows = torch.tensor([2, 0, 0])
    selected = {name: tensor[rows] for name, tensor in state.items()}
    last, _ = model.decode(TOKENS[rows], {}, selected)
    whole = model(prev_output_tokens=TOKENS).logits
    torch.testing.assert_close(last.logits, whole[rows, 5:], rtol=0, atol=1e-12)


@every_kind
def test_padding_changes_nothing(kind: str) -> None:
    model = build(kind).double().eval()
    together = model(prev_output_tokens=TOKENS).logits
    alone = model(prev_output_tokens=TOKENS[1:2, :4]).logits
    torch.testing.assert_close(together[1:2, :4], alone, rtol=0, atol=1e-12)


@every_kind
def test_no_position_sees_a_later_one(kind: str) -> None:
    model = build(kind).double().eval()
    changed = TOKENS.clone()
    changed[:, 3] = 10
    before = model(prev_output_tokens=TOKENS).logits
    after = model(prev_output_tokens=changed).logits
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@every_kind
def test_a_document_in_a_packed_row_is_as_if_alone(kind: str) -> None:
    model = build(kind).double().eval()
    documents = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 2, -1, -1], [0, 0, 0, 0, 0, 0]])
    packed = model(prev_output_tokens=TOKENS, document_ids=documents).logits
    for row, begin, end in ((0, 0, 3), (0, 3, 6), (1, 0, 1), (1, 1, 3), (1, 3, 4), (2, 0, 6)):
        alone = model(prev_output_tokens=TOKENS[row : row + 1, begin:end]).logits
        # The table of rotary positions has float32's precision.
        torch.testing.assert_close(packed[row, begin:end], alone[0], rtol=0, atol=1e-7)
    assert packed.isfinite().all()


@every_kind
def test_packing_gives_each_document_the_same_gradient(kind: str) -> None:
    found = []
    for is_packed in (True, False):
        model = build(kind, dropout=0.0).double()
        if is_packed:
            documents = torch.tensor([[0, 0, 0, 1, 1, 1]])
            model(TOKENS[:1], documents).logits.square().sum().backward()
        else:
            for part in (TOKENS[:1, :3], TOKENS[:1, 3:]):
                model(part).logits.square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


@every_kind
def test_seeding_decides_the_dropout(kind: str) -> None:
    model = build(kind, dropout=0.3)
    torch.manual_seed(1)
    first, second = model(TOKENS).features, model(TOKENS).features
    torch.manual_seed(1)
    assert torch.equal(model(TOKENS).features, first)
    assert not torch.equal(first, second)


@every_kind
@pytest.mark.parametrize("is_tied", [True, False])
def test_the_output_layer_is_linear_and_tied_as_asked(kind: str, is_tied: bool) -> None:
    model = build(kind, tie_embeddings=is_tied)
    weights = {id(model.get_parameter(name)) for name in model.vocabulary_rows()}
    assert len(weights) == (1 if is_tied else 2)
    assert type(model(TOKENS).output_layer) is torch.nn.Linear


def test_configs_have_the_names_that_their_models_are_registered_by() -> None:
    assert MODELS.get("transformer_lm").config is TransformerLMConfig
    assert MODELS.get("lstm_lm").config is LSTMLMConfig
