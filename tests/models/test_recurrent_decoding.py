"""Decoding by recurrent models: sentences of all lengths side by side, and their memory."""

import pytest
import torch
from generation.search_cases import CONTEXT, EOS, build

from seqtrain.models.base import AutoregressiveModel, Decoding, EncoderDecoderModel
from seqtrain.models.lstm_input_feeding import InputFeedingLSTM, InputFeedingLSTMConfig

KINDS = ("lstm", "lstm_input_feeding", "lstm_lm")
WIDTH = 2


def _build(kind: str) -> AutoregressiveModel:
    if kind != "lstm_input_feeding":
        return build(kind).eval()
    torch.manual_seed(0)
    config = InputFeedingLSTMConfig(
        encoder_dim=8, encoder_hidden_dim=6, bidirectional=True, num_layers=2, output_dim=10
    )
    return InputFeedingLSTM.from_config(config, CONTEXT).eval()


def _decoding(model: AutoregressiveModel) -> Decoding:
    decoding = model.decoding(WIDTH)
    assert decoding is not None
    return decoding


def _memory(model: AutoregressiveModel, sources: list[list[int]]) -> dict[str, torch.Tensor]:
    if not isinstance(model, EncoderDecoderModel):
        return {}
    return model.encode(torch.tensor(sources))


def _expected(model: AutoregressiveModel, source: list[int], prefix: list[int]) -> torch.Tensor:
    output, _ = model.decode(torch.tensor([prefix]), _memory(model, [source]), None)
    return output.features[0, -1]


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_prefixes_that_came_at_different_times_are_read_as_whole_ones(kind: str) -> None:
    model = _build(kind)
    decoding = _decoding(model)
    assert decoding.takes_more
    first, second = [[3, 4, EOS], [5, 6, EOS]], [[6, 3, 3, 4, EOS]]
    decoding.add(_memory(model, first), torch.tensor([[EOS], [EOS]]))
    decoding.step(torch.tensor([[3, 4], [5, 6]]), torch.zeros(2, WIDTH, dtype=torch.int64))
    output = decoding.add(_memory(model, second), torch.tensor([[EOS, 4]]))
    torch.testing.assert_close(output.features[0, -1], _expected(model, second[0], [EOS, 4]))
    symbols, origins = (
        torch.tensor([[3, 5], [6, 6], [3, 4]]),
        torch.tensor([[1, 0], [1, 1], [0, 0]]),
    )
    features = decoding.step(symbols, origins).features
    prefixes = [
        [[EOS, 4, 3], [EOS, 3, 5]],
        [[EOS, 6, 6], [EOS, 6, 6]],
        [[EOS, 4, 3], [EOS, 4, 4]],
    ]
    for source, row, found in zip([*first, *second], prefixes, features, strict=True):
        for prefix, feature in zip(row, found, strict=True):
            torch.testing.assert_close(feature, _expected(model, source, prefix))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_sentences_that_stay_are_read_on_in_their_new_places(kind: str) -> None:
    model = _build(kind)
    decoding = _decoding(model)
    sources = [[3, EOS, 1], [5, 6, EOS], [4, 4, EOS]]
    decoding.add(_memory(model, sources), torch.tensor([[EOS]] * 3))
    decoding.step(torch.tensor([[3, 4]] * 3), torch.zeros(3, WIDTH, dtype=torch.int64))
    decoding.select(torch.tensor([2, 1]))
    features = decoding.step(
        torch.tensor([[5, 6], [6, 5]]), torch.tensor([[0, 1], [1, 1]])
    ).features
    prefixes = [[[EOS, 3, 5], [EOS, 4, 6]], [[EOS, 4, 6], [EOS, 4, 5]]]
    for source, row, found in zip([sources[2], sources[1]], prefixes, features, strict=True):
        for prefix, feature in zip(row, found, strict=True):
            torch.testing.assert_close(feature, _expected(model, source, prefix))
