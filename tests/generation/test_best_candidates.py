"""The best of many candidates against a sort of all."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.generation.best_candidates import best_candidates


@settings(max_examples=25, deadline=None)
@given(
    sentences=st.integers(1, 3),
    width=st.integers(1, 5),
    vocab=st.sampled_from([3, 64, 65, 200, 700]),
    count=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_blocks_hold_the_same_best_as_all(
    sentences: int, width: int, vocab: int, count: int, seed: int
) -> None:
    torch.manual_seed(seed)
    scores = torch.randn(sentences, width, vocab)
    scores[torch.rand(scores.shape) < 0.2] = -math.inf
    totals = torch.randn(sentences, width)
    best, prefixes, symbols, found = best_candidates(scores, totals, count)
    everything = (scores + totals[:, :, None]).flatten(1)
    expected = everything.topk(min(count, width * vocab), dim=1).values
    torch.testing.assert_close(best, expected, rtol=0.0, atol=0.0)
    rows = torch.arange(sentences)[:, None]
    is_real = best.isfinite()
    torch.testing.assert_close(scores[rows, prefixes, symbols][is_real], found[is_real])
    torch.testing.assert_close((found + totals.gather(1, prefixes))[is_real], best[is_real])


@pytest.mark.parametrize("vocab", [5, 500])
def test_undefined_scores_are_never_chosen_before_defined_ones(vocab: int) -> None:
    scores = torch.randn(1, 2, vocab)
    scores[0, 0] = math.nan
    best, prefixes, _, _ = best_candidates(scores, torch.zeros(1, 2), 4)
    assert bool(best.isfinite().all())
    assert prefixes.tolist() == [[1] * 4]
