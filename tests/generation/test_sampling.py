"""Sampling: its distribution, its limits, and its independence of the batch."""

import math

import pytest
import torch
from generation.search_cases import EOS, SOURCES, batch_of, build, search

from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.sampling import limit_choice

LOG_PROBS = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03]).log()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, 5),
        ({"sampling_topk": 2}, 2),
        ({"sampling_topk": 9}, 5),
        ({"sampling_topp": 0.74}, 2),
        ({"sampling_topp": 0.76}, 3),
        ({"sampling_minp": 0.2}, 3),
        ({"sampling_topk": 3, "sampling_topp": 0.5}, 1),
    ],
)
def test_limits_keep_the_most_probable_symbols(options: dict[str, float], kept: int) -> None:
    limited = limit_choice(LOG_PROBS[None], GenerationConfig(sampling=True, **options))[0]  # type: ignore[arg-type] # numbers of either type
    assert limited.isfinite().tolist() == [index < kept for index in range(5)]
    torch.testing.assert_close(limited[:kept], LOG_PROBS[:kept])


def test_typical_sampling_keeps_symbols_of_average_information() -> None:
    probabilities = LOG_PROBS.exp()
    entropy = -(probabilities * LOG_PROBS).sum()
    distance = (-LOG_PROBS - entropy).abs()
    first = int(distance.argmin())
    config = GenerationConfig(sampling=True, sampling_typicalp=float(probabilities[first]) / 2)
    limited = limit_choice(LOG_PROBS[None], config)[0]
    assert limited.isfinite().nonzero().flatten().tolist() == [first]


def test_symbols_are_drawn_as_often_as_they_are_probable() -> None:
    model = build("transformer").eval()
    source = torch.tensor([SOURCES[0]])
    logits = model(source_tokens=source, prev_output_tokens=torch.tensor([[EOS]])).logits[0, 0]
    logits[:2] = -math.inf  # bos and padding
    expected = logits.softmax(dim=0)
    batch = batch_of([SOURCES[0]] * 40, "source_tokens")
    found = search(model, batch, beam=50, nbest=50, sampling=True, max_len_b=1, min_len=0)
    firsts = [(*one.tokens, EOS)[0] for nbest in found for one in nbest]
    counts = torch.bincount(torch.tensor(firsts), minlength=7) / len(firsts)
    torch.testing.assert_close(counts, expected, atol=0.04, rtol=0.0)


def test_scores_of_samples_are_the_models() -> None:
    model = build("transformer").eval()
    options = {"sampling": True, "sampling_topk": 3, "beam": 4, "nbest": 4, "max_len_b": 5}
    ((*found,),) = search(model, batch_of(SOURCES[:1], "source_tokens"), **options)
    for one in found:
        written = [*one.tokens, EOS]
        inputs = {
            "source_tokens": torch.tensor(SOURCES[:1]),
            "prev_output_tokens": torch.tensor([[EOS, *one.tokens]]),
        }
        scores = model(**inputs).logits[0].log_softmax(dim=1).gather(1, torch.tensor([written]).T)
        assert one.token_scores == pytest.approx(scores[:, 0].tolist(), abs=2e-5)


def test_samples_depend_on_seed_and_example_but_not_on_the_batch() -> None:
    model = build("transformer")
    options = {"sampling": True, "beam": 3, "nbest": 3, "max_len_b": 8, "temperature": 2.0}
    same = [SOURCES[0]] * 3
    together = search(model, batch_of(same, "source_tokens", 5), **options)
    assert together[0] != together[1] != together[2]
    alone = search(model, batch_of(same[:1], "source_tokens", 6), **options)[0]
    assert [one.tokens for one in alone] == [one.tokens for one in together[1]]
    other = search(model, batch_of(same[:1], "source_tokens", 6), seed=2, **options)[0]
    assert [one.tokens for one in other] != [one.tokens for one in alone]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling_topk", -1),
        ("sampling_topp", 0.0),
        ("sampling_typicalp", 1.5),
        ("sampling_minp", 1.0),
        ("diverse_beam_groups", 2),
    ],
)
def test_impossible_options_of_sampling_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"generation\.{name}"):
        GenerationConfig(sampling=True, **{name: value})  # type: ignore[arg-type] # as above
