"""Language models, batches that follow one another, forced beginnings, random options."""

import itertools
from typing import Any

import pytest
import torch
from generation.search_cases import (
    CONTEXT,
    EOS,
    PADDING,
    PROMPTS,
    SOURCES,
    SYMBOLS,
    assert_same,
    batch_of,
    build,
    log_probs,
    search,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.generation.build import build_search
from seqtrain.models.base import AutoregressiveModel

LANGUAGE_MODELS = ("rotary_lm", "learned_lm", "lstm_lm")


def _exhaustive(
    model: AutoregressiveModel, row: list[int], options: dict[str, Any], start: list[int]
) -> list[Hypothesis]:
    size, longest = options["no_repeat_ngram_size"], options["max_len_b"]
    found = []
    known: dict[tuple[int, ...], torch.Tensor] = {}
    for length in range(options["min_len"], longest + 1):
        for rest in itertools.product(SYMBOLS, repeat=max(length - len(start), 0)):
            tokens = [*start, *rest]
            if len(tokens) != length or _repeats(tokens, size):
                continue
            scores = []
            for index, symbol in enumerate([*tokens, EOS]):
                before = tuple(tokens[:index])
                if before not in known:
                    known[before] = log_probs(model, row, list(before))
                scores.append(float(known[before][symbol]))
            score = sum(scores) / (length + 1) ** options["lenpen"]
            found.append(Hypothesis(tokens, score, scores))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def _repeats(tokens: list[int], size: int) -> bool:
    parts = [tuple(tokens[index : index + size]) for index in range(len(tokens) - size + 1)]
    return size > 0 and len(parts) != len(set(parts))


@settings(max_examples=8, deadline=None)
@given(
    kind=st.sampled_from(["transformer", "lstm", "rotary_lm"]),
    seed=st.integers(0, 1000),
    lenpen=st.sampled_from([0.0, 0.6, 1.0, 1.5]),
    min_len=st.integers(0, 2),
    ngram=st.integers(0, 2),
    num_forced=st.integers(0, 2),
)
def test_a_wide_beam_finds_what_exhaustive_search_finds_under_all_options(
    kind: str, seed: int, lenpen: float, min_len: int, ngram: int, num_forced: int
) -> None:
    model = build(kind, seed)
    is_language_model = kind == "rotary_lm"
    start = [] if is_language_model else [5, 3][:num_forced]
    row = PROMPTS[0] if is_language_model else SOURCES[0]
    options = {
        "lenpen": lenpen,
        "min_len": min_len,
        "no_repeat_ngram_size": 0 if is_language_model else ngram,
        "max_len_b": 3,
    }
    batch = batch_of([row], "prev_output_tokens" if is_language_model else "source_tokens")
    batch.targets.resize_(1, 2).copy_(torch.tensor([[5, 3]]))
    expected = _exhaustive(model, row, options, start)
    ours = search(model, batch, beam=90, nbest=90, prefix_size=len(start), **options)[0]
    # Forced symbols are not forbidden, even where they repeat.
    assert_same(ours, expected)


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_a_prompt_is_continued_alike_alone_and_beside_others(kind: str) -> None:
    model = build(kind)
    options = {"beam": 3, "nbest": 3, "max_len_a": 0.5, "max_len_b": 4}
    together = search(model, batch_of(PROMPTS, "prev_output_tokens"), **options)
    for row, found in zip(PROMPTS, together, strict=True):
        assert_same(search(model, batch_of([row], "prev_output_tokens"), **options)[0], found)
        for one in found:
            for index, symbol in enumerate([*one.tokens, EOS]):
                expected = float(log_probs(model, row, one.tokens[:index])[symbol])
                assert one.token_scores[index] == pytest.approx(expected, abs=2e-5)


def test_a_prompt_longer_than_the_models_positions_is_cut_on_the_left() -> None:
    model = build("rotary_lm")
    row = [EOS, *[3, 4, 5, 6] * 10]
    options = {"beam": 2, "max_len_b": 6}
    found = search(model, batch_of([row], "prev_output_tokens"), **options)
    assert found == search(model, batch_of([row[-18:]], "prev_output_tokens"), **options)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
@pytest.mark.parametrize("sampling", [False, True])
def test_batches_that_follow_one_another_change_no_output(kind: str, sampling: bool) -> None:
    model = build(kind)
    options = {"beam": 3, "nbest": 3, "max_len_a": 1.5, "max_len_b": 4, "sampling": sampling}
    rows = [SOURCES[index % 4] + [2] * 0 for index in range(14)]
    batches = [
        batch_of(rows[begin:end], "source_tokens", begin)
        for begin, end in ((0, 1), (1, 9), (9, 10), (10, 14))
    ]
    generator = build_search([model], GenerationConfig(**options), CONTEXT)
    found = dict(generator.stream(iter(batches)))
    assert sorted(found) == list(range(14))
    for index, row in enumerate(rows):
        alone = generator.generate(batch_of([row], "source_tokens", index))[0]
        assert_same(found[index], alone)


def test_a_stream_leaves_modes_and_random_numbers_alone_between_its_outputs() -> None:
    model = build("transformer").train()
    generator = build_search([model], GenerationConfig(beam=2, max_len_b=4), CONTEXT)
    before = torch.get_rng_state()
    for _ in generator.stream([batch_of(SOURCES, "source_tokens")]):
        assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), before)


def test_forced_beginnings_of_different_lengths_stand_in_one_batch() -> None:
    model = build("transformer")
    batch = batch_of(SOURCES, "source_tokens")
    targets = torch.tensor([[5, 3, 4], [6, EOS, PADDING], [EOS, PADDING, PADDING], [3, 3, 3]])
    batch.targets.resize_(4, 3).copy_(targets)
    found = search(model, batch, beam=3, nbest=3, max_len_b=6, prefix_size=2)
    for row, start, nbest in zip(SOURCES, ([5, 3], [6], [], [3, 3]), found, strict=True):
        for one in nbest:
            assert one.tokens[: len(start)] == start
            written = [*one.tokens, EOS]
            scores = [
                float(log_probs(model, row, written[:index])[symbol])
                for index, symbol in enumerate(written)
            ]
            assert one.token_scores == pytest.approx(scores, abs=2e-5)


def test_the_limit_may_come_from_other_lengths_than_the_own() -> None:
    batch = batch_of(SOURCES, "source_tokens")
    batch.extras["limiting_lengths"] = torch.tensor([9, 9, 9, 2])
    found = search(build("transformer"), batch, beam=2, max_len_a=1.0, max_len_b=1, min_len=50)
    assert [len(nbest[0].tokens) for nbest in found] == [10, 10, 10, 3]


def test_a_penalty_keeps_the_unknown_symbol_away() -> None:
    found = search(
        build("transformer"),
        batch_of(SOURCES, "source_tokens"),
        beam=4,
        nbest=4,
        max_len_b=5,
        unkpen=1e4,
    )
    assert 3 not in {token for nbest in found for one in nbest for token in one.tokens}


def test_a_language_model_shifts_the_scores() -> None:
    model, language_model = build("transformer"), build("learned_lm")
    config = GenerationConfig(beam=2, max_len_b=5, lm_weight=0.3)
    generator = build_search([model], config, CONTEXT, language_model)
    ((one,),) = generator.generate(batch_of(SOURCES[:1], "source_tokens"))
    written = [*one.tokens, EOS]
    for index, symbol in enumerate(written):
        expected = log_probs(model, SOURCES[0], written[:index])[symbol]
        expected = expected + 0.3 * log_probs(language_model, [EOS], written[:index])[symbol]
        assert one.token_scores[index] == pytest.approx(float(expected), abs=2e-5)


def test_retained_dropout_makes_outputs_vary() -> None:
    model = build("transformer")
    batch = batch_of(SOURCES, "source_tokens")
    torch.manual_seed(0)
    first = search(model, batch, beam=2, max_len_b=6, retain_dropout=True)
    assert first != search(model, batch, beam=2, max_len_b=6, retain_dropout=True)
