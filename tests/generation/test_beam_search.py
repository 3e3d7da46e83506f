"""Beam search against exhaustive search and a plain-list version; invariances; limits."""

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError, NumericError
from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.generation.build import build_search
from seqtrain.models.base import EncoderDecoderModel, ModelContext
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.models.transformer import TransformerConfig, TransformerModel

CONTEXT = ModelContext(source_vocab_size=7, target_vocab_size=7, shared_vocab=True)
BOS, PADDING, EOS = 0, 1, 2
SYMBOLS = range(3, 7)
SOURCES = [[5, 6, 3, 4, 2], [4, 2], [3, 3, 3, 2], [6, 5, 2]]


def _transformer(seed: int = 0, **fields: Any) -> TransformerModel:
    torch.manual_seed(seed)
    config = TransformerConfig(dim=8, ffn_dim=16, num_heads=2, dropout=0.5, **fields)
    return TransformerModel.from_config(config, CONTEXT)


def _lstm(seed: int = 0) -> LSTMModel:
    torch.manual_seed(seed)
    return LSTMModel.from_config(LSTMConfig(dim=8, dropout=0.5), CONTEXT)


@pytest.fixture(params=["transformer", "lstm"])
def model(request: pytest.FixtureRequest) -> EncoderDecoderModel:
    return _transformer() if request.param == "transformer" else _lstm()


def _batch(sources: list[list[int]]) -> Batch:
    longest = max(map(len, sources))
    padded = [row + [PADDING] * (longest - len(row)) for row in sources]
    return Batch(
        inputs={"source_tokens": torch.tensor(padded)},
        targets=torch.full((len(sources), 1), PADDING),
        ids=torch.arange(len(sources)),
        num_targets=0,
    )


def _search(
    models: EncoderDecoderModel | Sequence[EncoderDecoderModel],
    sources: list[list[int]],
    **fields: Any,
) -> list[list[Hypothesis]]:
    models = [models] if isinstance(models, EncoderDecoderModel) else models
    return build_search(models, GenerationConfig(**fields), CONTEXT).generate(_batch(sources))


@torch.no_grad()
def _log_probs(model: EncoderDecoderModel, source: list[int], prefix: list[int]) -> list[float]:
    """Returns the log probability of each symbol after a prefix, read as a whole."""
    model.eval()
    tokens = torch.tensor([source]), torch.tensor([[EOS, *prefix]])
    return (
        model(source_tokens=tokens[0], prev_output_tokens=tokens[1])
        .logits[0, -1]
        .log_softmax(dim=0)
        .tolist()
    )


def _assert_same(ours: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [found.tokens for found in ours] == [found.tokens for found in expected]
    for found, right in zip(ours, expected, strict=True):
        assert found.score == pytest.approx(right.score, abs=2e-5)
        assert found.token_scores == pytest.approx(right.token_scores, abs=2e-5)


def _exhaustive(
    model: EncoderDecoderModel, source: list[int], min_len: int, max_len: int, lenpen: float
) -> list[Hypothesis]:
    found = []
    after = cache(lambda *prefix: _log_probs(model, source, list(prefix)))
    for length in range(min_len, max_len + 1):
        for tokens in itertools.product(SYMBOLS, repeat=length):
            written = [*tokens, EOS]
            scores = [after(*written[:index])[symbol] for index, symbol in enumerate(written)]
            found.append(Hypothesis(list(tokens), sum(scores) / (length + 1) ** lenpen, scores))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


@pytest.mark.parametrize(("min_len", "lenpen"), [(0, 1.0), (1, 0.6), (2, 0.0)])
def test_a_wide_beam_finds_what_exhaustive_search_finds(
    model: EncoderDecoderModel, min_len: int, lenpen: float
) -> None:
    wide = {"beam": 90, "nbest": 90, "max_len_b": 3, "min_len": min_len, "lenpen": lenpen}
    for source, ours in zip(SOURCES[:2], _search(model, SOURCES[:2], **wide), strict=True):
        _assert_same(ours, _exhaustive(model, source, min_len, 3, lenpen))


def _plain_beam_search(
    model: EncoderDecoderModel, source: list[int], beam: int, max_len: int
) -> list[Hypothesis]:
    """The rules of the search, for one sentence, with lists."""
    prefixes: list[tuple[float, list[int], list[float]]] = [(0.0, [], [])]
    finished: list[Hypothesis] = []
    for step in range(max_len + 1):
        extensions = []
        for total, tokens, scores in prefixes:
            log_probs = _log_probs(model, source, tokens)
            allowed = [EOS] if step == max_len else list(SYMBOLS) + [EOS] * (step >= 1)
            extensions += [
                (total + log_probs[symbol], [*tokens, symbol], [*scores, log_probs[symbol]])
                for symbol in allowed
            ]
        extensions = sorted(extensions, key=lambda extension: -extension[0])[: 2 * beam]
        for total, tokens, scores in extensions[:beam]:
            if tokens[-1] == EOS and len(finished) < beam:
                finished.append(Hypothesis(tokens[:-1], total / len(tokens), scores))
        if len(finished) == beam:
            break
        prefixes = [extension for extension in extensions if extension[1][-1] != EOS][:beam]
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_it_follows_the_rules_written_with_plain_lists(
    model: EncoderDecoderModel, beam: int
) -> None:
    for source, ours in zip(
        SOURCES, _search(model, SOURCES, beam=beam, nbest=beam, max_len_b=9), strict=True
    ):
        _assert_same(ours, _plain_beam_search(model, source, beam, 9))


def test_batch_size_and_order_change_no_output(model: EncoderDecoderModel) -> None:
    fields = {"beam": 3, "nbest": 3, "max_len_a": 1.5, "max_len_b": 2}
    together = _search(model, SOURCES, **fields)
    backwards = _search(model, SOURCES[::-1], **fields)[::-1]
    for source, one, other in zip(SOURCES, together, backwards, strict=True):
        _assert_same(one, _search(model, [source], **fields)[0])
        _assert_same(one, other)


def test_the_longest_output_comes_from_the_sentences_own_source() -> None:
    with_long_outputs = {"beam": 2, "max_len_a": 1.0, "max_len_b": 1, "min_len": 100}
    found = _search(_transformer(), SOURCES, **with_long_outputs)
    assert [len(best.tokens) for (best,) in found] == [len(source) + 1 for source in SOURCES]


def test_an_ensemble_of_a_model_with_itself_is_the_model(model: EncoderDecoderModel) -> None:
    fields = {"beam": 4, "nbest": 4, "max_len_b": 6}
    for alone, twice in zip(
        _search(model, SOURCES, **fields), _search([model, model], SOURCES, **fields), strict=True
    ):
        _assert_same(twice, alone)


def test_an_ensemble_averages_probabilities() -> None:
    models = [_transformer(seed=1), _lstm(seed=2)]
    ((best,),) = _search(models, SOURCES[:1], max_len_b=6)
    written = [*best.tokens, EOS]
    for index, symbol in enumerate(written):
        probs = [math.exp(_log_probs(one, SOURCES[0], written[:index])[symbol]) for one in models]
        assert math.exp(best.token_scores[index]) == pytest.approx(sum(probs) / 2, rel=1e-4)


def test_scores_are_normalised_sums_of_token_scores(model: EncoderDecoderModel) -> None:
    for found in _search(model, SOURCES, beam=4, nbest=4, max_len_b=6, lenpen=0.7):
        for one in found:
            assert len(one.token_scores) == len(one.tokens) + 1
            expected = sum(one.token_scores) / (len(one.tokens) + 1) ** 0.7
            assert one.score == pytest.approx(expected, rel=1e-5)


def test_special_symbols_are_never_written(model: EncoderDecoderModel) -> None:
    for found in _search(model, SOURCES, beam=5, nbest=5, max_len_b=8):
        assert not {BOS, PADDING, EOS} & {token for one in found for token in one.tokens}


def test_outputs_stop_where_the_models_positions_end() -> None:
    found = _search(_transformer(max_positions=6), SOURCES, beam=2, min_len=50)
    assert [len(best.tokens) for (best,) in found] == [5] * 4


def test_no_sequence_of_symbols_is_written_twice_when_forbidden(
    model: EncoderDecoderModel,
) -> None:
    fields = {"beam": 3, "nbest": 3, "min_len": 8, "max_len_b": 8}
    for found in _search(model, SOURCES, no_repeat_ngram_size=2, **fields):
        for one in found:
            pairs = list(itertools.pairwise(one.tokens))
            assert len(pairs) == len(set(pairs))


def test_temperature_divides_the_logits() -> None:
    model = _transformer()
    ((best,),) = _search(model, SOURCES[:1], beam=1, min_len=0, max_len_b=0, temperature=2.0)
    log_probs = torch.tensor(_log_probs(model, SOURCES[0], []))
    assert best.score == pytest.approx((log_probs / 2).log_softmax(dim=0)[EOS].item(), rel=1e-5)


def test_modes_come_back_and_no_random_number_is_drawn() -> None:
    model = _transformer().train()
    model.encoder.layers[1].eval()
    modes = [module.training for module in model.modules()]
    before = torch.get_rng_state()
    first = _search(model, SOURCES)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)
    assert first == _search(model, SOURCES)


def test_an_empty_batch_gives_no_outputs() -> None:
    empty = Batch(
        inputs={"source_tokens": torch.tensor([[EOS]])},
        targets=torch.tensor([[PADDING]]),
        ids=torch.zeros(0, dtype=torch.int64),
        num_targets=0,
    )
    assert build_search([_transformer()], GenerationConfig(), CONTEXT).generate(empty) == []


def test_undefined_scores_are_an_error_and_not_an_output() -> None:
    model = _transformer()
    with torch.no_grad():
        model.decoder.layer_norm.weight.fill_(math.nan)
    with pytest.raises(NumericError, match="finite"):
        _search(model, SOURCES, max_len_b=3)


def test_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one model"):
        build_search([], GenerationConfig(), CONTEXT)


@pytest.mark.parametrize(
    "fields", [{"temperature": 0.0}, {"no_repeat_ngram_size": -1}, {"beam": 2, "nbest": 3}]
)
def test_an_impossible_option_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"generation\.{list(fields)[-1]} must"):
        GenerationConfig(**fields)
