from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.config_schema import parse_section
from seqtrain.data.keyed_random import ExampleRandom
from seqtrain.data.noise.masking import UNITS, MaskingConfig, Rows, hide
from seqtrain.data.noise.word_marks import WordMarks
from seqtrain.data.vocabulary import SPECIALS
from seqtrain.errors import ConfigError

MASK = 50
SYMBOLS = [*SPECIALS, *(f"\u2581{i}" if i % 3 == 0 else str(i) for i in range(4, MASK))]
MARKS = WordMarks.of(SYMBOLS)


def rows_of(sequences: list[list[int]]) -> Rows:
    flat = np.array([token for ids in sequences for token in ids], dtype=np.int64)
    return Rows(flat, np.array([len(ids) for ids in sequences], dtype=np.int64))


def many(num_rows: int, length: int) -> Rows:
    flat = np.random.default_rng(0).integers(4, MASK, num_rows * length)
    return Rows(flat, np.full(num_rows, length))


def apply(
    rows: Rows, config: MaskingConfig, indices: list[int] | None = None, epoch: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    order = np.arange(len(rows.lengths)) if indices is None else np.array(indices)
    return hide(rows, config, ExampleRandom(3, epoch, order), MASK, MARKS)


SEQUENCES = st.lists(st.lists(st.integers(0, MASK - 1), max_size=15), min_size=1, max_size=6)
CONFIGS = st.builds(
    MaskingConfig,
    rate=st.floats(0, 1),
    unchanged=st.floats(0, 0.5),
    random=st.floats(0, 0.5),
    units=st.sampled_from(UNITS),
)


@settings(deadline=None, max_examples=80)
@given(sequences=SEQUENCES, config=CONFIGS, epoch=st.integers(1, 9))
def test_only_symbols_are_hidden_and_the_rest_stays_in_any_batch(
    sequences: list[list[int]], config: MaskingConfig, epoch: int
) -> None:
    rows = rows_of(sequences)
    seen, hidden = apply(rows, config, epoch=epoch)
    assert not hidden[rows.flat < len(SPECIALS)].any()
    assert (seen[~hidden] == rows.flat[~hidden]).all()
    assert (seen >= 0).all()
    assert (seen[hidden] >= len(SPECIALS)).all()
    assert (seen <= MASK).all()
    begin = 0
    for index, ids in enumerate(sequences):
        alone, its_own = apply(rows_of([ids]), config, [index], epoch)
        assert alone.tolist() == seen[begin : begin + len(ids)].tolist()
        assert its_own.tolist() == hidden[begin : begin + len(ids)].tolist()
        begin += len(ids)


@pytest.mark.parametrize("units", UNITS)
def test_the_shares_are_those_of_the_config(units: str) -> None:
    rows = many(4000, 100)
    seen, hidden = apply(rows, MaskingConfig(units=units))
    assert hidden.mean() == pytest.approx(0.15, abs=0.005)
    masked = (seen == MASK)[hidden].mean()
    same = (seen == rows.flat)[hidden].mean()
    # One in 46 of the random ones is the symbol itself.
    assert masked == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / 46, abs=0.02)


def test_the_number_of_hidden_symbols_is_the_rate_rounded_up_or_down() -> None:
    for length, allowed in ((10, {1, 2}), (20, {3}), (3, {0, 1})):
        _, hidden = apply(many(300, length), MaskingConfig())
        counts = hidden.reshape(300, length).sum(axis=1)
        assert set(counts.tolist()) == allowed
        assert counts.mean() == pytest.approx(0.15 * length, abs=0.1)


def test_every_symbol_is_hidden_equally_often() -> None:
    _, hidden = apply(many(4000, 20), MaskingConfig(units="token"))
    np.testing.assert_allclose(hidden.reshape(4000, 20).mean(axis=0), 0.15, atol=0.025)


def test_words_are_hidden_as_a_whole() -> None:
    rows = many(200, 60)
    seen, hidden = apply(rows, MaskingConfig(units="word", random=0.0, unchanged=0.5))
    words = np.cumsum(MARKS.starts(rows.flat, rows.lengths))
    for word in range(1, int(words[-1]) + 1):
        own = hidden[words == word]
        assert own.all() or not own.any()
        masked = (seen == MASK)[words == word]
        assert masked.all() or not masked.any()


def test_spans_have_the_geometric_lengths_of_spanbert() -> None:
    rows = many(2000, 200)
    _, hidden = apply(rows, MaskingConfig(units="span"))
    table = np.pad(hidden.reshape(2000, 200), ((0, 0), (1, 1))).astype(int)
    steps = np.diff(table, axis=1)
    lengths = np.nonzero(steps == -1)[1] - np.nonzero(steps == 1)[1]
    chances = 0.2 * 0.8 ** np.arange(10)
    mean = (np.arange(1, 11) * chances).sum() / chances.sum()
    assert lengths.max() == 10
    # The last span of each sequence is cut to the budget.
    assert lengths.mean() == pytest.approx(mean, rel=0.1)
    seen = Counter(lengths.tolist())
    assert all(seen[length] > seen[length + 2] for length in range(1, 8))


def test_another_epoch_hides_other_symbols_and_the_same_epoch_the_same() -> None:
    rows = many(20, 40)
    first, again, other = (apply(rows, MaskingConfig(), epoch=epoch)[1] for epoch in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_words_are_told_by_the_marks_of_the_vocabulary() -> None:
    kinds = {
        "\u2581a b \u2581c \u2581": [True, False, True, True],
        "\u0120a b \u0120c d": [True, False, True, False],
        "a@@ b c@@ d": [True, False, True, False],
        "a b c d": [True, True, True, True],
    }
    for text, expected in kinds.items():
        marks = WordMarks.of([*SPECIALS, *text.split(" ")])
        assert marks.starts(np.array([4, 5, 6, 7]), np.array([4])).tolist() == expected
        # A new sequence, an end of sentence and a mask end a word.
        assert marks.starts(np.array([5, 5]), np.array([1, 1])).tolist() == [True, True]
        for special in (2, 99):
            assert marks.starts(np.array([4, special, 5]), np.array([3])).tolist() == [True] * 3
    marks = WordMarks.of([*SPECIALS, "a", " ", "b"])
    assert marks.starts(np.array([4, 5, 6]), np.array([3])).tolist() == [True, True, False]


@pytest.mark.parametrize(
    "section",
    [
        {"rate": 1.5}, {"unchanged": -0.1}, {"random": float("nan")}, {"units": "line"},
        {"span_p": 0.0}, {"longest_span": 0}, {"unchanged": 0.6, "random": 0.6},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_name_their_key(section: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"masking.{next(iter(section))}"):
        parse_section(MaskingConfig(), section, "task.masking")
