"""TER is sacrebleu's; accuracy counts whole texts."""

from collections.abc import Sequence

import pytest
import sacrebleu

from seqtrain.scorers.accuracy import Accuracy, AccuracyConfig
from seqtrain.scorers.error_rates import (
    CharacterErrorRate,
    CharacterErrorRateConfig,
    WordErrorRate,
    WordErrorRateConfig,
)
from seqtrain.scorers.ter import Ter, TerConfig

TEXTS = ["the cat sat on the mat", "a dog", "x y z", ""]
REFERENCES = [["on the mat the cat sat"], ["a big dog"], ["x y z"], ["word"]]


def test_ter_is_that_of_sacrebleu_with_its_signature() -> None:
    scorer = Ter(TerConfig(name="ter"))
    expected = sacrebleu.corpus_ter(TEXTS, [[row[0] for row in REFERENCES]])
    assert scorer.score(TEXTS, REFERENCES) == {"ter": expected.score}
    assert scorer.signature().startswith("nrefs:1|case:lc|tok:tercom|")


def test_a_shift_of_words_is_one_edit() -> None:
    scorer = Ter(TerConfig(name="ter"))
    assert scorer.score(TEXTS[:1], REFERENCES[:1]) == {"ter": pytest.approx(100 / 6)}


@pytest.mark.parametrize(
    ("strip", "texts", "expected"),
    [(True, ["a ", "b"], 100.0), (False, ["a ", "b"], 50.0), (True, ["c", "d"], 0.0)],
)
def test_accuracy_counts_texts_that_equal_any_reference(
    strip: bool, texts: Sequence[str], expected: float
) -> None:
    scorer = Accuracy(AccuracyConfig(name="accuracy", strip=strip))
    assert scorer.score(texts, [["x", "a"], ["b"]]) == {"accuracy": expected}


def test_error_rates_are_those_of_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer")
    plain = [row[0] for row in REFERENCES]
    word, character = WordErrorRateConfig(name="wer"), CharacterErrorRateConfig(name="cer")
    wer = WordErrorRate(word).score(TEXTS, REFERENCES)["wer"]
    cer = CharacterErrorRate(character).score(TEXTS, REFERENCES)["cer"]
    assert wer == pytest.approx(100 * jiwer.wer(plain, TEXTS))
    assert cer == pytest.approx(100 * jiwer.cer(plain, TEXTS))
