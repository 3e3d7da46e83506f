import math
import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.scorers.base import SCORERS
from seqtrain.scorers.edit_distance import edit_distance
from seqtrain.scorers.error_rates import CharacterErrorRate, Pronunciation, WordErrorRate

LETTERS = st.text(alphabet="abc", max_size=9)


@cache
def _plain_distance(first: str, second: str) -> int:
    """The recursive definition."""
    if not first or not second:
        return len(first) + len(second)
    return min(
        _plain_distance(first[1:], second) + 1,
        _plain_distance(first, second[1:]) + 1,
        _plain_distance(first[1:], second[1:]) + (first[0] != second[0]),
    )


def _table_distance(first: list[int], second: list[int]) -> int:
    """The table of Wagner and Fischer, row by row."""
    row = list(range(len(second) + 1))
    for i, x in enumerate(first):
        before, row = row, [i + 1]
        for j, y in enumerate(second):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (x != y)))
    return row[-1]


@given(first=LETTERS, second=LETTERS)
def test_edit_distance_is_the_recursive_definition(first: str, second: str) -> None:
    assert edit_distance(first, second) == _plain_distance(first, second)


@given(
    first=st.lists(st.integers(0, 3), min_size=40, max_size=150),
    second=st.lists(st.integers(0, 3), min_size=40, max_size=150),
)
def test_edit_distance_holds_past_the_width_of_a_machine_word(
    first: list[int], second: list[int]
) -> None:
    assert edit_distance(first, second) == _table_distance(first, second)


def test_a_thousand_sentences_of_200_characters_take_a_moment() -> None:
    pairs = [("abcdefghij" * 20, "bacdefhgij" * 20)] * 1000
    start = time.process_time()
    total = sum(edit_distance(first, second) for first, second in pairs)
    assert total > 0
    assert time.process_time() - start < 3.0


def test_word_and_character_errors_are_in_percent_of_the_references() -> None:
    hypotheses = ["the cat sat", "a dog", ""]
    references = [["the cat sat down"], ["the dog"], ["oh  no"]]
    wer, cer = SCORERS.parse({"name": "wer"}), SCORERS.parse({"name": "cer"})
    assert WordErrorRate(wer).score(hypotheses, references) == {"wer": 100.0 * (1 + 1 + 2) / 8}
    expected = 100.0 * (5 + 3 + 6) / (16 + 7 + 6)
    assert CharacterErrorRate(cer).score(hypotheses, references) == {"cer": expected}


def test_each_example_counts_against_its_closest_reference() -> None:
    config = SCORERS.parse({"name": "pronunciation"})
    hypotheses = ["T AH M EY T OW", "R EH D", "L IH V"]
    references = [["T AH M AA T OW", "T AH M EY T OW"], ["R IY D"], ["L AY V Z", "L AY V"]]
    scores = Pronunciation(config).score(hypotheses, references)
    assert scores == {"wer": 100.0 * 2 / 3, "per": 100.0 * (0 + 1 + 1) / (6 + 3 + 3)}


def test_equally_close_references_count_with_the_lower_rate() -> None:
    wer = WordErrorRate(SCORERS.parse({"name": "wer"}))
    for choices in (["a b", "a b c d"], ["a b c d", "a b"]):
        assert wer.score(["a b c"], [choices]) == {"wer": 25.0}


def test_a_rate_without_reference_length_is_zero_or_infinite() -> None:
    wer = WordErrorRate(SCORERS.parse({"name": "wer"}))
    assert wer.score([""], [[" "]]) == {"wer": 0.0}
    assert wer.score(["x"], [[""]]) == {"wer": math.inf}


@pytest.mark.parametrize("name", ["wer", "cer", "pronunciation"])
def test_a_perfect_output_has_no_errors(name: str) -> None:
    scorer = SCORERS.get(name).cls(SCORERS.parse({"name": name}))
    scores = scorer.score(["a b", "ü"], [["x", "a b"], ["ü"]])
    assert set(scores.values()) == {0.0}
    assert "refs:closest" in scorer.signature()
