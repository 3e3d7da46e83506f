"""Attention to the source beside outputs: what it is, and what asks for it in vain."""

import itertools

import pytest
import torch
from generation.search_cases import CONTEXT, EOS, PADDING, SOURCES, batch_of, build, search

from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.build import build_search
from seqtrain.models.base import EncoderDecoderModel
from seqtrain.models.lstm_input_feeding import InputFeedingLSTM, InputFeedingLSTMConfig

KINDS = ("transformer", "lstm", "lstm_input_feeding")
OPTIONS = {"beam": 3, "nbest": 2, "max_len_b": 6}


def _build(kind: str) -> EncoderDecoderModel:
    if kind == "lstm_input_feeding":
        torch.manual_seed(0)
        config = InputFeedingLSTMConfig(encoder_dim=8, encoder_hidden_dim=6, num_layers=2)
        model = InputFeedingLSTM.from_config(config, CONTEXT)
        with torch.no_grad():  # else it looks everywhere alike
            model.decoder.attention.input_proj.weight.mul_(300.0)
        return model
    model = build(kind)
    assert isinstance(model, EncoderDecoderModel)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_shares_of_real_source_symbols_sum_to_one(kind: str) -> None:
    found = search(
        _build(kind), batch_of(SOURCES, "source_tokens"), print_alignment="soft", **OPTIONS
    )
    for row, nbest in zip(SOURCES, found, strict=True):
        for one in nbest:
            assert one.attention is not None
            weights = torch.tensor(one.attention)
            assert weights.shape == (len(one.tokens) + 1, len(row))
            torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(one.tokens) + 1))
            assert one.alignment == weights[:-1, :-1].argmax(dim=1).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_symbol_with_the_most_attention_matters(kind: str) -> None:
    model = _build(kind).eval()
    source = torch.tensor([[3, 4, 5, 6, EOS]])
    prefix = torch.tensor([[EOS, 4, 6]])
    attention = model.attention(source, prefix, -1)[0]
    alone = model.attention(source[:, :1], prefix, -1)[0]
    torch.testing.assert_close(alone, torch.ones(3, 1))
    padded = torch.cat([source, torch.full((1, 2), PADDING)], dim=1)
    with_padding = model.attention(padded, prefix, -1)[0]
    torch.testing.assert_close(with_padding[:, :5], attention)
    torch.testing.assert_close(with_padding[:, 5:], torch.zeros(3, 2))


def test_the_weights_of_a_transformer_mix_the_values() -> None:
    model = _build("transformer").eval()
    source, prefix = torch.tensor([SOURCES[0], SOURCES[0]]), torch.tensor([[EOS, 4], [EOS, 6]])
    layer = model.get_submodule("decoder.layers.1.encoder_attn")
    seen = []
    handle = layer.register_forward_hook(lambda _, args, out: seen.append((args, out)))
    by_head = model.attention(source, prefix, 1)
    handle.remove()
    (x, (keys, values), bias, packing), mixed = seen[0]
    weights = layer.weights(x, (keys, values), bias, packing)  # type: ignore[operator] # a method
    torch.testing.assert_close(weights.mean(dim=1), by_head)
    together = layer.get_submodule("out_proj")((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(together, mixed if packing is None else packing.unpack(mixed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_gives_every_output_its_own_attention(kind: str) -> None:
    model = _build(kind)
    rows = [SOURCES[index % 4] for index in range(40)]
    config = GenerationConfig(print_alignment="soft", **OPTIONS)  # type: ignore[arg-type] # numbers
    generator = build_search([model], config, CONTEXT)
    batches = [
        batch_of(rows[begin:end], "source_tokens", begin)
        for begin, end in itertools.pairwise((0, 1, 9, 30, 40))
    ]
    found = dict(generator.stream(iter(batches)))
    expected = generator.generate(batch_of(SOURCES, "source_tokens"))
    assert sorted(found) == list(range(40))
    for index, nbest in found.items():
        for one, right in zip(nbest, expected[index % 4], strict=True):
            assert one.tokens == right.tokens
            torch.testing.assert_close(torch.tensor(one.attention), torch.tensor(right.attention))


def test_an_alignment_alone_brings_no_matrix_and_changes_no_output() -> None:
    model, batch = _build("transformer"), batch_of([[EOS], *SOURCES], "source_tokens")
    plain = search(model, batch, **OPTIONS)
    aligned = search(model, batch, print_alignment="hard", alignment_layer=0, **OPTIONS)
    for before, after in zip(plain, aligned, strict=True):
        for one, other in zip(before, after, strict=True):
            assert (one.tokens, one.score) == (other.tokens, other.score)
            assert other.attention is None
    assert aligned[0][0].alignment == []  # there is no source symbol
    assert all(one.alignment is not None for nbest in aligned for one in nbest)


def test_an_ensemble_averages_attention() -> None:
    models = [_build("transformer"), _build("lstm")]
    source = torch.tensor(SOURCES[:1])
    ((best, _),) = search(
        models, batch_of(SOURCES[:1], "source_tokens"), print_alignment="soft", **OPTIONS
    )
    prefix = torch.tensor([[EOS, *best.tokens]])
    expected = sum(model.eval().attention(source, prefix, -1)[0] for model in models) / 2
    torch.testing.assert_close(torch.tensor(best.attention), expected)


def test_a_layer_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"generation\.alignment_layer must be from -3 to 2"):
        search(
            _build("transformer"),
            batch_of(SOURCES, "source_tokens"),
            print_alignment="hard",
            alignment_layer=3,
            **OPTIONS,
        )


def test_a_language_model_has_no_source_to_align_with() -> None:
    config = GenerationConfig(print_alignment="hard")
    with pytest.raises(ConfigError, match=r"generation\.print_alignment needs encoder-decoder"):
        build_search([build("rotary_lm")], config, CONTEXT)
