"""What every encoder-decoder model must do, on each of ours."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqtrain.models.base import EncoderDecoderModel, ModelContext
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.models.lstm_input_feeding import InputFeedingLSTM, InputFeedingLSTMConfig
from seqtrain.models.transformer import TransformerConfig, TransformerModel

Build = Callable[..., EncoderDecoderModel]
CONTEXT = ModelContext(source_vocab_size=20, target_vocab_size=20, shared_vocab=True)


def _transformer(norm: str) -> Build:
    def build(**fields: object) -> EncoderDecoderModel:
        config = TransformerConfig(dim=8, ffn_dim=16, num_heads=2, norm=norm, **fields)  # type: ignore[arg-type] # chosen by the test
        return TransformerModel.from_config(config, CONTEXT)

    return build


def _lstm(**fields: object) -> EncoderDecoderModel:
    return LSTMModel.from_config(LSTMConfig(dim=8, **fields), CONTEXT)  # type: ignore[arg-type] # chosen by the test


def _input_feeding(**fields: object) -> EncoderDecoderModel:
    config = InputFeedingLSTMConfig(encoder_dim=8, decoder_dim=8, output_dim=8, bidirectional=True)
    return InputFeedingLSTM.from_config(replace(config, num_layers=2, **fields), CONTEXT)  # type: ignore[arg-type] # chosen by the test


@pytest.fixture(params=["pre", "post", "lstm", "input feeding"])
def build(request: pytest.FixtureRequest) -> Build:
    torch.manual_seed(0)
    kinds = {"lstm": _lstm, "input feeding": _input_feeding}
    return kinds.get(request.param) or _transformer(request.param)


@pytest.fixture
def source() -> Tensor:
    return torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1], [2, 1, 1, 1, 1]])


@pytest.fixture
def prefix() -> Tensor:
    return torch.tensor([[2, 5, 6, 7], [2, 9, 1, 1], [2, 4, 4, 4]])


def test_incremental_decoding_equals_reading_the_whole_prefix(
    build: Build, source: Tensor, prefix: Tensor
) -> None:
    model = build().double().eval()
    memory = model.encode(source)
    state: dict[str, Tensor] | None = None
    steps = []
    for length in range(1, prefix.size(1) + 1):
        output, state = model.decode(prefix[:, :length], memory, state)
        assert output.features.size(1) == 1
        steps.append(output.logits)
    whole = model(source_tokens=source, prev_output_tokens=prefix).logits
    real = prefix != CONTEXT.padding_index
    stepwise = torch.cat(steps, dim=1)
    torch.testing.assert_close(stepwise[real], whole[real], rtol=0, atol=1e-12)


def test_a_state_may_begin_with_several_symbols(
    build: Build, source: Tensor, prefix: Tensor
) -> None:
    model = build().double().eval()
    memory = model.encode(source)
    _, state = model.decode(prefix[:, :3], memory, None)
    last, _ = model.decode(prefix, memory, state)
    whole = model(source_tokens=source, prev_output_tokens=prefix).logits
    real = prefix[:, 3:] != CONTEXT.padding_index
    torch.testing.assert_close(last.logits[real], whole[:, 3:][real], rtol=0, atol=1e-12)


def test_padding_changes_nothing(build: Build, source: Tensor, prefix: Tensor) -> None:
    model = build().double().eval()
    together = model(source_tokens=source, prev_output_tokens=prefix).logits
    alone = model(source_tokens=source[1:2, :3], prev_output_tokens=prefix[1:2, :2]).logits
    torch.testing.assert_close(together[1:2, :2], alone, rtol=0, atol=1e-12)


def test_no_position_sees_a_later_one(build: Build, source: Tensor, prefix: Tensor) -> None:
    model = build().double().eval()
    changed = prefix.clone()
    changed[:, 3] = 11
    before = model(source_tokens=source, prev_output_tokens=prefix).logits[:, :3]
    after = model(source_tokens=source, prev_output_tokens=changed).logits[:, :3]
    assert torch.equal(before, after)


def test_rows_of_memory_and_state_can_be_selected(
    build: Build, source: Tensor, prefix: Tensor
) -> None:
    model = build().double().eval()
    rows = torch.tensor([2, 0, 0])
    memory = model.encode(source)
    _, state = model.decode(prefix[:, :3], memory, None)
    selected = (
        {name: tensor[rows] for name, tensor in memory.items()},
        {name: tensor[rows] for name, tensor in state.items()},
    )
    output, _ = model.decode(prefix[rows], *selected)
    expected, _ = model.decode(prefix, memory, state)
    torch.testing.assert_close(output.logits, expected.logits[rows], rtol=0, atol=1e-12)


def test_a_source_of_nothing_but_padding_gives_finite_values(build: Build) -> None:
    model = build().eval()
    source = torch.tensor([[1, 1, 1], [4, 5, 2]])
    output = model(source_tokens=source, prev_output_tokens=torch.tensor([[2, 3], [2, 3]]))
    assert output.logits.isfinite().all()


def test_seeding_decides_the_dropout(build: Build, source: Tensor, prefix: Tensor) -> None:
    model = build(dropout=0.3)
    inputs = {"source_tokens": source, "prev_output_tokens": prefix}
    torch.manual_seed(1)
    first, second = model(**inputs).features, model(**inputs).features
    torch.manual_seed(1)
    assert torch.equal(model(**inputs).features, first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("sharing", "number"), [("all", 1), ("decoder", 2), ("none", 3)])
def test_embeddings_are_shared_as_asked(build: Build, sharing: str, number: int) -> None:
    model = build(share_embeddings=sharing)
    weights = [model.get_parameter(name) for name in model.vocabulary_rows()]
    assert len(weights) == 3
    assert len({id(weight) for weight in weights}) == number
    assert all(weight.size(0) == 20 for weight in weights)
