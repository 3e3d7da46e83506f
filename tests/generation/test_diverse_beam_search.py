"""Diverse beam search: groups that avoid each other, and its limits."""

import pytest
from generation.search_cases import SOURCES, batch_of, build, search

from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig


def _first_symbols(strength: float) -> list[int]:
    options = {"beam": 4, "nbest": 4, "min_len": 3, "max_len_b": 3, "diverse_beam_groups": 4}
    batch = batch_of(SOURCES[:1], "source_tokens")
    found = search(build("transformer"), batch, diverse_beam_strength=strength, **options)
    return [one.tokens[0] for one in found[0]]


def test_a_strong_penalty_gives_every_group_a_beginning_of_its_own() -> None:
    assert len(set(_first_symbols(100.0))) == 4


def test_without_a_penalty_all_groups_find_the_same() -> None:
    assert len(set(_first_symbols(0.0))) == 1


def test_outputs_do_not_depend_on_the_batch() -> None:
    options = {"beam": 4, "nbest": 4, "max_len_b": 6, "diverse_beam_groups": 2}
    model = build("transformer")
    together = search(model, batch_of(SOURCES, "source_tokens"), **options)
    for row, found in zip(SOURCES, together, strict=True):
        alone = search(model, batch_of([row], "source_tokens"), **options)[0]
        assert [one.tokens for one in alone] == [one.tokens for one in found]


def test_groups_that_do_not_divide_the_beam_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"generation\.diverse_beam_groups must divide"):
        GenerationConfig(beam=5, diverse_beam_groups=2)
