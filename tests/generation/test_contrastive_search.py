"""Contrastive search against its rules written with plain lists; limits and refusals."""

import pytest
import torch
from generation.search_cases import (
    CONTEXT,
    EOS,
    PROMPTS,
    SOURCES,
    assert_same,
    batch_of,
    build,
    search,
)
from torch.nn import functional as F

from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig, Hypothesis
from seqtrain.generation.build import build_search
from seqtrain.models.base import AutoregressiveModel, EncoderDecoderModel, ModelOutput

BOS, PADDING = 0, 1


@torch.no_grad()
def _read(model: AutoregressiveModel, row: list[int], tokens: list[int]) -> ModelOutput:
    inputs = {"prev_output_tokens": torch.tensor([tokens])}
    if isinstance(model, EncoderDecoderModel):
        inputs["source_tokens"] = torch.tensor([row])
    return model.eval()(**inputs)


@torch.no_grad()
def _plain(
    model: AutoregressiveModel, row: list[int], alpha: float, count: int, longest: int
) -> Hypothesis:
    """The rules of the search, for one example, with lists."""
    tokens = [EOS] if isinstance(model, EncoderDecoderModel) else list(row)
    given, scores = len(tokens), list[float]()
    while not scores or tokens[-1] != EOS:
        output = _read(model, row, tokens)
        log_probs = output.logits[0, -1].log_softmax(dim=0)
        past = F.normalize(output.features[0], dim=1)
        if len(tokens) - given == longest:
            choices = [EOS]
        else:
            is_allowed = [s for s in range(7) if s not in (BOS, PADDING)]
            is_allowed = [s for s in is_allowed if s != EOS or len(tokens) > given]
            choices = sorted(is_allowed, key=lambda s: -float(log_probs[s]))[:count]

        def value(symbol: int, log_probs: torch.Tensor, past: torch.Tensor) -> float:
            after = F.normalize(_read(model, row, [*tokens, symbol]).features[0, -1], dim=0)
            penalty = float((past @ after).max())
            return (1 - alpha) * float(log_probs[symbol].exp()) - alpha * penalty

        best = max(choices, key=lambda symbol: value(symbol, log_probs, past))
        tokens.append(best)
        scores.append(float(log_probs[best]))
    return Hypothesis(tokens[given:-1], sum(scores) / len(scores), scores)


@pytest.mark.parametrize("kind", ["transformer", "lstm", "rotary_lm", "lstm_lm"])
@pytest.mark.parametrize(("alpha", "count"), [(0.6, 3), (0.2, 7), (1.0, 2)])
def test_it_follows_the_rules_written_with_plain_lists(kind: str, alpha: float, count: int) -> None:
    model = build(kind)
    rows, name = PROMPTS, "prev_output_tokens"
    if isinstance(model, EncoderDecoderModel):
        rows, name = SOURCES, "source_tokens"
    options = {"contrastive_alpha": alpha, "sampling_topk": count, "max_len_b": 6}
    found = search(model, batch_of(rows, name), **options)
    for row, nbest in zip(rows, found, strict=True):
        assert_same(nbest, [_plain(model, row, alpha, count, 6)])
        assert_same(search(model, batch_of([row], name), **options)[0], nbest)


def test_a_small_alpha_is_greedy_search() -> None:
    model = build("transformer")
    batch = batch_of(SOURCES, "source_tokens")
    found = search(model, batch, contrastive_alpha=1e-9, sampling_topk=4, max_len_b=6)
    assert [n[0].tokens for n in found] == [
        n[0].tokens for n in search(model, batch, beam=1, max_len_b=6)
    ]


def test_an_output_may_fill_the_models_positions() -> None:
    model = build("rotary_lm")  # it has 24
    options = {"contrastive_alpha": 0.5, "sampling_topk": 3, "min_len": 99, "max_len_b": 99}
    found = search(model, batch_of(PROMPTS[:1], "prev_output_tokens"), **options)
    assert 12 <= len(found[0][0].tokens) <= 23


def test_several_models_are_refused_by_name() -> None:
    config = GenerationConfig(contrastive_alpha=0.5, sampling_topk=3)
    models = [build("transformer"), build("lstm")]
    with pytest.raises(ConfigError, match=r"generation\.contrastive_alpha compares features"):
        build_search(models, config, CONTEXT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrastive_alpha": 0.5}, r"needs generation\.sampling_topk"),
        ({"contrastive_alpha": 1.5, "sampling_topk": 2}, "must be from 0 to 1"),
        (
            {"contrastive_alpha": 0.5, "sampling_topk": 2, "nbest": 2},
            r"generation\.nbest must be 1",
        ),
        (
            {"contrastive_alpha": 0.5, "sampling_topk": 2, "sampling": True},
            r"generation\.sampling and generation\.contrastive_alpha exclude each other",
        ),
        (
            {"constraints": "ordered", "diverse_beam_groups": 5},
            r"generation\.diverse_beam_groups and generation\.constraints exclude",
        ),
        (
            {"constraints": "ordered", "mbr_samples": 5},
            r"generation\.constraints and generation\.mbr_samples exclude",
        ),
        ({"sampling_topk": 5}, r"sampling_topk has no meaning without generation\.sampling=true"),
        ({"sampling_topp": 0.9}, r"sampling_topp has no meaning without"),
        (
            {"contrastive_alpha": 0.5, "sampling_topk": 2, "sampling_minp": 0.1},
            r"sampling_minp has no meaning without",
        ),
        (
            {"forced_prefix": True, "prefix_size": 2},
            r"generation\.forced_prefix and generation\.prefix_size exclude",
        ),
        ({"temperature": float("nan")}, r"generation\.temperature must be a finite number"),
        ({"lenpen": float("inf")}, r"generation\.lenpen must be a finite number"),
        ({"constraints": "sorted"}, r"generation\.constraints must be one of empty, ordered"),
        ({"mbr_samples": 2, "nbest": 3}, r"mbr_samples must be 0 or at least generation\.nbest"),
        ({"print_alignment": "yes"}, r"generation\.print_alignment must be one of empty, hard"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(
    options: dict[str, float | str | bool], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        GenerationConfig(**options)  # type: ignore[arg-type] # values of several types
