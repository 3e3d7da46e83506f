"""Perplexity is of a model, not of texts."""

import math

import pytest

from seqtrain.errors import ConfigError
from seqtrain.scorers.base import SCORERS, Likelihood
from seqtrain.scorers.error_rates import WordErrorRate
from seqtrain.scorers.perplexity import Perplexity


def perplexity() -> Perplexity:
    return Perplexity(SCORERS.parse({"name": "perplexity"}))


def test_perplexity_is_the_exponential_of_the_mean_and_bits_per_byte_count_the_text() -> None:
    scorer = perplexity()
    found = scorer.score_model(Likelihood(nll=20.0, num_targets=10, num_bytes=40))
    assert found["perplexity"] == pytest.approx(math.exp(2.0))
    assert found["bits_per_byte"] == pytest.approx(20.0 / math.log(2.0) / 40)


def test_perplexity_of_nothing_is_nan_and_a_huge_one_infinite() -> None:
    scorer = perplexity()
    nothing = scorer.score_model(Likelihood(nll=0.0, num_targets=0))
    assert nothing.keys() == {"perplexity"}
    assert math.isnan(nothing["perplexity"])
    assert scorer.score_model(Likelihood(nll=1e6, num_targets=1)) == {"perplexity": math.inf}


def test_texts_have_no_perplexity() -> None:
    scorer = perplexity()
    with pytest.raises(ConfigError, match="use seqtrain-evaluate"):
        scorer.score(["a"], [["a"]])


def test_a_scorer_of_texts_does_not_ask_the_model() -> None:
    scorer = WordErrorRate(SCORERS.parse({"name": "wer"}))
    with pytest.raises(NotImplementedError, match="scorer=wer compares texts"):
        scorer.score_model(Likelihood(nll=1.0, num_targets=1))
