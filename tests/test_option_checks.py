"""Checks of single options: what they let pass, and the words with which they refuse."""

import math
from dataclasses import dataclass

import pytest

from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_choice, require_fields, require_range


@pytest.mark.parametrize(
    ("bounds", "right", "wrong", "words"),
    [
        ({"least": 0}, 0, -1, "not be negative"),
        ({"above": 0}, 1e-9, 0.0, "be positive"),
        ({"least": 1}, 10**400, 0, "be at least 1"),
        ({"least": 0, "below": 1}, 0.0, 1.0, "be at least 0 and below 1"),
        ({"above": 0, "most": 1}, 1.0, 0.0, "be above 0 and at most 1"),
        ({"least": 0.9, "most": 1}, 0.9, 0.89, "be from 0.9 to 1"),
        ({"most": 0}, -5, 1, "be at most 0"),
    ],
)
def test_a_number_is_within_its_bounds_or_refused_in_words(
    bounds: dict[str, float], right: float, wrong: float, words: str
) -> None:
    require_range("a.b", right, **bounds)
    for value in (wrong, math.nan, math.inf, -math.inf):
        with pytest.raises(ConfigError) as caught:
            require_range("a.b", value, **bounds)
        assert str(caught.value) == f"a.b must {words}, got {value}."


@dataclass
class Section:
    size: int = 1
    share: float = 2.0


def test_fields_are_named_with_their_section() -> None:
    require_fields("model", Section(), "size", "share", least=1)
    with pytest.raises(ConfigError, match=r"^model\.share must be at least 0 and below 1, got 2"):
        require_fields("model", Section(), "share", least=0, below=1)


def test_a_choice_is_one_of_those_named_and_an_empty_one_is_told() -> None:
    require_choice("a.b", "", ("", "x"))
    with pytest.raises(ConfigError, match=r"^a\.b must be one of empty, x, got 'y'\.$"):
        require_choice("a.b", "y", ("", "x"))
