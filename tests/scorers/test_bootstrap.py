"""Paired bootstrap: sure where systems differ, unsure where they do not."""

import random

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from seqtrain.errors import ConfigError, DataError
from seqtrain.plugins import import_built_ins
from seqtrain.scorers.base import SCORERS, Scorer
from seqtrain.scorers.bootstrap import paired_bootstrap

import_built_ins()


def scorer(name: str) -> Scorer:
    config = SCORERS.parse({"name": name})
    made: Scorer = SCORERS.get(name).cls(config)
    return made


def corpus(share_wrong: float, seed: int) -> tuple[list[str], list[list[str]]]:
    """Texts of ten words, of which a share is wrong, and their references."""
    rng = random.Random(seed)
    references = [[f"w{index * 10 + k}" for k in range(10)] for index in range(60)]
    texts = [[w if rng.random() > share_wrong else "x" for w in row] for row in references]
    return [" ".join(row) for row in texts], [[" ".join(row)] for row in references]


@pytest.mark.parametrize("name", ["bleu", "chrf", "ter", "wer", "cer", "pronunciation", "accuracy"])
def test_totals_of_statistics_give_the_score_of_the_corpus(name: str) -> None:
    texts, references = corpus(0.2, 1)
    made = scorer(name)
    statistics = made.statistics(texts, references)
    assert statistics is not None
    assert made.score_of(statistics.sum(axis=0)) == pytest.approx(made.score(texts, references))


def test_a_scorer_without_statistics_is_asked_anew_with_the_same_result() -> None:
    first, references = corpus(0.3, 1)
    second, _ = corpus(0.2, 2)
    fast, slow = scorer("wer"), scorer("wer")
    slow.statistics = lambda *_: None  # type: ignore[method-assign] # one that has none
    # Its own score needs them: taken from the other.
    slow.score = fast.score  # type: ignore[method-assign]
    results = [paired_bootstrap(s, first, second, references, 50, seed=3) for s in (fast, slow)]
    assert results[0]["wer"].low == pytest.approx(results[1]["wer"].low)
    assert results[0]["wer"].p_value == results[1]["wer"].p_value


def test_a_system_that_is_better_has_a_small_p_value_and_the_same_system_has_none() -> None:
    worse, references = corpus(0.4, 1)
    better, _ = corpus(0.1, 2)
    found = paired_bootstrap(scorer("bleu"), worse, better, references, 200, seed=1)["bleu"]
    assert found.difference == pytest.approx(found.second - found.first)
    assert 0.0 < found.low < found.difference < found.high
    assert found.p_value == pytest.approx(1 / 201)
    same = paired_bootstrap(scorer("bleu"), worse, worse, references, 200, seed=1)["bleu"]
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_p_value_of_a_clear_difference_is_near_that_of_sacrebleu() -> None:
    first, references = corpus(0.25, 1)
    second, _ = corpus(0.14, 5)
    found = paired_bootstrap(scorer("bleu"), first, second, references, 1000, seed=1)["bleu"]
    systems = [("first", first), ("second", second)]
    streams = [[row[0] for row in references]]
    _, scores = PairedTest(systems, {"BLEU": BLEU(references=streams)}, streams, "bs", 1000)()
    theirs = scores["BLEU"][1]
    assert found.second == pytest.approx(theirs.score)
    assert found.p_value == pytest.approx(theirs.p_value, abs=0.05)


def test_the_same_seed_draws_the_same_examples() -> None:
    first, references = corpus(0.3, 1)
    second, _ = corpus(0.2, 2)
    results = [
        paired_bootstrap(scorer("wer"), first, second, references, 50, seed=seed)["wer"]
        for seed in (1, 1, 2)
    ]
    assert results[0] == results[1] != results[2]


def test_settings_and_texts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="resamples must be at least 1, got 0"):
        paired_bootstrap(scorer("wer"), ["a"], ["a"], [["a"]], 0)
    with pytest.raises(DataError, match="2 hypotheses for 1 examples"):
        paired_bootstrap(scorer("wer"), ["a"], ["a", "b"], [["a"]], 5)
