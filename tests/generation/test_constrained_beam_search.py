"""Beam search for outputs with given phrases: against exhaustive search, limits, invariances."""

import itertools
from typing import Any

import numpy as np
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
from generation.test_phrase_progress import contains, contains_in_order
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.batch import Batch
from seqtrain.data.demanding_dataset import Demand, DemandingDataset
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import NumericError
from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.generation.build import build_search
from seqtrain.models.base import AutoregressiveModel

Phrases = list[list[int]]


def _batch(rows: list[list[int]], phrases: list[Phrases], first_id: int = 0) -> Batch:
    """Returns sources with the phrases that their outputs must contain."""
    plain = batch_of(rows, "source_tokens", first_id)
    store = TokenStore.from_sequences([np.array(row[:-1]) for row in rows], 7)
    dataset = DemandingDataset(PairDataset(store), [Demand((), each) for each in phrases])
    made = dataset.batch(np.arange(len(rows)), 1)
    assert torch.equal(made.inputs["source_tokens"], plain.inputs["source_tokens"])
    return Batch(
        inputs=plain.inputs, targets=plain.targets, ids=plain.ids, num_targets=0,
        extras=made.extras,
    )  # fmt: skip


def _exhaustive(
    model: AutoregressiveModel, row: list[int], phrases: Phrases, kind: str, longest: int
) -> list[Hypothesis]:
    fits = contains_in_order if kind == "ordered" else contains
    found = []
    known: dict[tuple[int, ...], torch.Tensor] = {}
    for length in range(1, longest + 1):
        for tokens in itertools.product(SYMBOLS, repeat=length):
            if not fits(list(tokens), phrases):
                continue
            scores = []
            for index, symbol in enumerate([*tokens, EOS]):
                before = tokens[:index]
                if before not in known:
                    known[before] = log_probs(model, row, list(before))
                scores.append(float(known[before][symbol]))
            found.append(Hypothesis(list(tokens), sum(scores) / (length + 1), scores))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


@settings(max_examples=10, deadline=None)
@given(
    model=st.sampled_from(["transformer", "lstm"]),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["ordered", "unordered"]),
    phrases=st.lists(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=2), max_size=2),
)
def test_a_wide_beam_finds_what_exhaustive_search_finds_among_outputs_with_the_phrases(
    model: str, seed: int, kind: str, phrases: Phrases
) -> None:
    built = build(model, seed)
    expected = _exhaustive(built, SOURCES[0], phrases, kind, longest=3)
    batch = _batch(SOURCES[:1], [phrases])
    options: dict[str, Any] = {"beam": 90, "nbest": 90, "max_len_b": 3, "constraints": kind}
    if not expected:
        with pytest.raises(NumericError, match="demanded phrases"):
            search(built, batch, **options)
        return
    assert_same(search(built, batch, **options)[0], expected)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["ordered", "unordered"]),
    phrases=st.lists(
        st.lists(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=3), max_size=3),
        min_size=4,
        max_size=4,
    ),
    beam=st.integers(1, 4),
    room=st.integers(0, 2),
)
def test_every_output_contains_its_phrases_wherever_there_is_room_for_them(
    seed: int, kind: str, phrases: list[Phrases], beam: int, room: int
) -> None:
    longest = max(sum(map(len, each)) for each in phrases) + room
    batch = _batch(SOURCES, phrases)
    options = {"beam": beam, "nbest": beam, "max_len_b": longest, "constraints": kind}
    fits = contains_in_order if kind == "ordered" else contains
    for nbest, wanted in zip(
        search(build("transformer", seed), batch, min_len=0, **options), phrases, strict=True
    ):
        assert nbest
        assert all(fits(one.tokens, wanted) for one in nbest)


@pytest.mark.parametrize("kind", ["ordered", "unordered"])
def test_without_phrases_it_is_beam_search_to_the_bit(kind: str) -> None:
    model = build("transformer")
    options = {"beam": 4, "nbest": 4, "max_len_b": 8}
    plain = search(model, batch_of(SOURCES, "source_tokens"), **options)
    assert search(model, batch_of(SOURCES, "source_tokens"), constraints=kind, **options) == plain
    beside = _batch(SOURCES, [[], [[3, 4]], [], []])
    found = search(model, beside, constraints=kind, **options)
    assert [nbest for row, nbest in enumerate(found) if row != 1] == [
        nbest for row, nbest in enumerate(plain) if row != 1
    ]


@pytest.mark.parametrize("model", ["transformer", "lstm"])
@pytest.mark.parametrize("kind", ["ordered", "unordered"])
def test_batches_that_follow_one_another_change_no_output(model: str, kind: str) -> None:
    built = build(model)
    rows = [SOURCES[index % 4] for index in range(10)]
    choices: list[Phrases] = [[[5, 6], [3]], [], [[4]], [[3, 4, 3], [6], [4]], [[5]]]
    phrases = [choices[index % 5] for index in range(10)]
    config = GenerationConfig(beam=3, nbest=3, max_len_a=1.0, max_len_b=6, constraints=kind)
    generator = build_search([built], config, CONTEXT)
    batches = [
        _batch(rows[begin:end], phrases[begin:end], begin)
        for begin, end in ((0, 1), (1, 7), (7, 8), (8, 10))
    ]
    found = dict(generator.stream(iter(batches)))
    for index, (row, each) in enumerate(zip(rows, phrases, strict=True)):
        assert_same(found[index], generator.generate(_batch([row], [each], index))[0])


def test_a_language_model_continues_a_prompt_with_the_phrases() -> None:
    batch = batch_of(PROMPTS, "prev_output_tokens")
    phrases = torch.tensor([[[4, 5]], [[6, PADDING]], [[3, 3]], [[PADDING, PADDING]]])
    batch.extras["phrases"] = phrases
    options = {"beam": 3, "nbest": 3, "max_len_b": 5, "constraints": "ordered"}
    wanted: list[Phrases] = [[[4, 5]], [[6]], [[3, 3]], []]
    for nbest, each in zip(search(build("rotary_lm"), batch, **options), wanted, strict=True):
        assert all(contains(one.tokens, each) for one in nbest)


def test_a_phrase_in_a_forced_beginning_counts() -> None:
    store = TokenStore.from_sequences([np.array(row[:-1]) for row in SOURCES[:2]], 7)
    demands = [Demand([5, 3, 4], [[3, 4]]), Demand([6], [[3, 4]])]
    batch = DemandingDataset(PairDataset(store), demands).batch(np.arange(2), 1)
    options = {"beam": 2, "nbest": 2, "max_len_b": 3, "constraints": "ordered"}
    first, second = search(build("transformer"), batch, forced_prefix=True, **options)
    assert [one.tokens for one in first] == [[5, 3, 4]]
    assert [one.tokens for one in second] == [[6, 3, 4]]
