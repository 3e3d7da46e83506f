import math
from collections import Counter

import pytest

from seqtrain.errors import ConfigError
from seqtrain.scorers.base import SCORERS, Scorer, build_scorers
from seqtrain.scorers.bleu import Bleu
from seqtrain.scorers.chrf import Chrf

HYPOTHESES = ["the cat sat on the mat today", "a dog runs over the green hill"]
REFERENCES = [["the cat sat on a mat today"], ["the dog runs over the hill there"]]


def _bleu(**fields: object) -> Bleu:
    return Bleu(SCORERS.parse({"name": "bleu", **fields}))


def _plain_bleu(hypotheses: list[str], references: list[list[str]]) -> float:
    """The definition of Papineni et al. for words that are parted by spaces."""
    precisions = []
    for n in range(1, 5):
        matched = total = 0
        for text, choices in zip(hypotheses, references, strict=True):
            allowed: Counter[tuple[str, ...]] = Counter()
            for choice in choices:
                allowed |= _ngrams(choice, n)
            found = _ngrams(text, n)
            matched += (found & allowed).total()
            total += found.total()
        precisions.append(matched / total)
    length = sum(len(text.split()) for text in hypotheses)
    closest = 0
    for text, choices in zip(hypotheses, references, strict=True):
        lengths = [len(choice.split()) for choice in choices]
        closest += min(lengths, key=lambda k: (abs(k - len(text.split())), k))
    penalty = min(1.0, math.exp(1 - closest / length))
    return 100.0 * penalty * math.exp(sum(map(math.log, precisions)) / 4)


def _ngrams(text: str, n: int) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


@pytest.mark.parametrize("more", [[], ["a dog runs over a green hill"]])
def test_bleu_is_the_papers_definition_with_any_number_of_references(more: list[str]) -> None:
    references = [REFERENCES[0], REFERENCES[1] + more]
    scores = _bleu().score(HYPOTHESES, references)
    assert scores["bleu"] == pytest.approx(_plain_bleu(HYPOTHESES, references))


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_repeating_a_reference_changes_nothing(name: str) -> None:
    scorer: Scorer = SCORERS.get(name).cls(SCORERS.parse({"name": name}))
    repeated = [[choices[0]] * (i + 1) for i, choices in enumerate(REFERENCES)]
    assert scorer.score(HYPOTHESES, repeated) == scorer.score(HYPOTHESES, REFERENCES)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_a_perfect_output_scores_100_and_an_empty_one_0(name: str) -> None:
    scorer: Scorer = SCORERS.get(name).cls(SCORERS.parse({"name": name}))
    perfect = [choices[0] for choices in REFERENCES]
    assert scorer.score(perfect, REFERENCES)[name] == pytest.approx(100.0)
    assert scorer.score(["", ""], REFERENCES)[name] == 0.0


def test_lowercase_ignores_case() -> None:
    shouted = [text.upper() for text in HYPOTHESES]
    assert _bleu().score(shouted, REFERENCES)["bleu"] == 0.0
    lowercase = _bleu(lowercase=True).score(shouted, REFERENCES)
    assert lowercase == _bleu().score(HYPOTHESES, REFERENCES)


def test_the_signature_says_how_the_figure_was_made() -> None:
    scorer = _bleu(tokenize="char", lowercase=True)
    assert scorer.signature() == ""
    scorer.score(HYPOTHESES, REFERENCES)
    assert scorer.signature().startswith("nrefs:1|case:lc|eff:no|tok:char|smooth:exp|version:")


def test_words_can_count_in_chrf() -> None:
    plain = Chrf(SCORERS.parse({"name": "chrf"})).score(HYPOTHESES, REFERENCES)
    with_words = Chrf(SCORERS.parse({"name": "chrf", "word_order": 2}))
    assert with_words.score(HYPOTHESES, REFERENCES) != plain
    assert "|nw:2|" in with_words.signature()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "bleu", "tokenize": "14b"}, "scorer.tokenize must be one of 13a.* got '14b'"),
        ({"name": "chrf", "word_order": -1}, "scorer.word_order must not be negative, got -1"),
    ],
)
def test_a_refused_setting_is_named(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SCORERS.parse(section)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_a_sentence_alone_is_scored_as_a_corpus_of_one(name: str) -> None:
    (scorer,) = build_scorers([name])
    texts = ["the small cat sat on the mat .", "a dog runs over the wide field ."]
    rights = [["the cat sat on a mat ."], ["a dog runs on the field .", "the dog runs fast ."]]
    expected = [scorer.score([t], [r])[name] for t, r in zip(texts, rights, strict=True)]
    assert scorer.sentence_scores(texts, rights) == pytest.approx(expected)


def test_a_short_sentence_can_be_perfect() -> None:
    (scorer,) = build_scorers(["bleu"])
    assert scorer.sentence_scores(["two words"], [["two words"]]) == pytest.approx([100.0])
