from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.data.vocabulary import BOS, EOS, PADDING, SPECIALS, UNKNOWN, Vocabulary
from seqtrain.errors import CheckpointError, DataError

SYMBOL = st.text(
    alphabet=st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1
).filter(lambda symbol: symbol not in SPECIALS)


@given(counts=st.dictionaries(SYMBOL, st.integers(0, 10**12), min_size=1))
def test_saving_and_loading_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int]
) -> None:
    vocabulary = Vocabulary.from_counts(counts)
    path = tmp_path_factory.mktemp("vocabulary") / "dict.txt"
    vocabulary.save(path)
    for other in (Vocabulary.load(path), Vocabulary.from_state(vocabulary.state_dict())):
        assert other.symbols == vocabulary.symbols
        assert other.state_dict() == vocabulary.state_dict()
        assert other.fingerprint == vocabulary.fingerprint


@given(pieces=st.lists(SYMBOL, min_size=1))
def test_known_pieces_survive_encoding(pieces: list[str]) -> None:
    vocabulary = Vocabulary.from_counts(Counter(pieces))
    assert vocabulary.decode(vocabulary.encode(pieces)) == pieces


def test_specials_have_the_first_ids_and_symbols_follow_by_count_then_spelling() -> None:
    vocabulary = Vocabulary.from_counts({"b": 2, "a": 2, "c": 9, "rare": 1}, min_count=2)
    assert vocabulary.symbols == ["<s>", "<pad>", "</s>", "<unk>", "c", "a", "b"]
    assert (BOS, PADDING, EOS, UNKNOWN) == (0, 1, 2, 3)
    assert vocabulary.encode(["a", "rare"]).tolist() == [5, UNKNOWN]


def test_max_size_counts_the_specials() -> None:
    assert len(Vocabulary.from_counts({"a": 3, "b": 2, "c": 1}, max_size=6)) == 6


def test_text_that_is_spelled_like_a_special_is_unknown() -> None:
    vocabulary = Vocabulary.from_counts({"a": 1, "<pad>": 7, "</s>": 7})
    assert vocabulary.encode(["</s>", "<pad>", "a", "<s>", "<unk>"]).tolist() == [3, 3, 4, 3, 3]


def test_another_order_has_another_fingerprint() -> None:
    one, other = Vocabulary([("a", 1), ("b", 1)]), Vocabulary([("b", 1), ("a", 1)])
    assert one.fingerprint != other.fingerprint


def test_symbols_may_hold_spaces_since_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_text("a b 5\n\u2028 4\n", encoding="utf-8")
    assert Vocabulary.load(path).symbols[4:] == ["a b", "\u2028"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a 5", "occurs twice"),
        ("b", "is not a symbol, a space and a count"),
        ("b -1", "is not a symbol, a space and a count"),
        ("b 1.5", "is not a symbol, a space and a count"),
        ("b ٣", "is not a symbol, a space and a count"),
        ("b " + "9" * 5000, "is not a symbol, a space and a count"),
        ("", "is not a symbol, a space and a count"),
        (" 7", "is empty"),
        ("<pad> 7", "spelled like a special"),
    ],
)
def test_bad_lines_are_refused_with_file_and_line(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "dict.txt"
    path.write_text(f"a 1\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Vocabulary.load(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"symbols": ["a"], "counts": []},
        {"symbols": "a", "counts": [1]},
        {"symbols": [1], "counts": [1]},
        {"symbols": ["a"], "counts": [True]},
        {"symbols": ["a"], "counts": [-1]},
        {"symbols": ["a", "a"], "counts": [1, 1]},
        {"symbols": ["</s>"], "counts": [1]},
        {"symbols": ["\ud800"], "counts": [1]},
    ],
)
def test_a_damaged_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="saved vocabulary"):
        Vocabulary.from_state(state)
