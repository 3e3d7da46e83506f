"""Lines that say what their outputs must be like: reading, writing, and what is refused."""

import pytest

from seqtrain.errors import DataError
from seqtrain.generation.base import GenerationConfig
from seqtrain.tasks.line_demands import DemandingLine, read_demands, write_demands

BOTH = GenerationConfig(constraints="unordered", forced_prefix=True)


@pytest.mark.parametrize(
    ("line", "config", "expected"),
    [
        ("a b\tc", GenerationConfig(), DemandingLine("a b\tc")),
        ("a b", BOTH, DemandingLine("a b")),
        ("a b\tc", BOTH, DemandingLine("a b", "c")),
        ("a b\t\td e\tf", BOTH, DemandingLine("a b", "", ("d e", "f"))),
        ("a\tb\t\tc", GenerationConfig(constraints="ordered"), DemandingLine("a", "", ("b", "c"))),
        ("a\tb c", GenerationConfig(forced_prefix=True), DemandingLine("a", "b c")),
    ],
)
def test_fields_behind_tabs_are_read_as_the_options_say(
    line: str, config: GenerationConfig, expected: DemandingLine
) -> None:
    assert read_demands(line, config) == expected


def test_phrases_without_an_order_are_refused() -> None:
    with pytest.raises(DataError, match=r"generation\.constraints"):
        read_demands("a\tb\tc", GenerationConfig(forced_prefix=True))


def test_what_is_written_is_read() -> None:
    lines = list(write_demands(["a\tb", "c"], BOTH, [["d", "e"], []], ["", "f"]))
    assert [read_demands(line, BOTH) for line in lines] == [
        DemandingLine("a b", "", ("d", "e")),
        DemandingLine("c", "f"),
    ]


def test_demands_for_another_number_of_lines_are_refused() -> None:
    with pytest.raises(ValueError, match="constraints are 1 for 2 lines"):
        list(write_demands(["a", "b"], BOTH, [["c"]], None))


def test_a_text_in_the_place_of_a_list_of_phrases_is_refused() -> None:
    with pytest.raises(TypeError, match="list of phrases"):
        list(write_demands(["a"], BOTH, ["c"], None))
