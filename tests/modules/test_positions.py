"""Position tables against their formulas, element by element."""

import math

import pytest
import torch

from seqtrain.errors import ConfigError, DataError
from seqtrain.modules.positions import build_positions


def test_the_marian_table_is_the_formula_in_halves() -> None:
    table = build_positions("marian", 50, 8, padding_index=1)(0, 50)
    for position in range(50):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            assert table[position, i].item() == pytest.approx(math.sin(angle), abs=1e-7)
            assert table[position, 4 + i].item() == pytest.approx(math.cos(angle), abs=1e-7)


def test_the_fairseq_table_counts_from_behind_padding() -> None:
    positions = build_positions("fairseq", 50, 8, padding_index=1)
    table = positions(0, 50)
    for position in range(50):
        for i in range(4):
            angle = (position + 2) * 10000 ** (-i / 3)
            assert table[position, i].item() == pytest.approx(math.sin(angle), abs=1e-7)
            assert table[position, 4 + i].item() == pytest.approx(math.cos(angle), abs=1e-7)
    assert not positions.rows()[1].any()


@pytest.mark.parametrize("kind", ["marian", "fairseq", "learned"])
def test_later_rows_are_a_slice_of_the_whole(kind: str) -> None:
    positions = build_positions(kind, 10, 4, padding_index=1)
    assert torch.equal(positions(3, 4), positions(0, 10)[3:7])


@pytest.mark.parametrize("kind", ["marian", "fairseq", "learned"])
def test_a_sequence_that_is_too_long_names_the_setting(kind: str) -> None:
    with pytest.raises(DataError, match=r"11 positions.*model\.max_positions is 10"):
        build_positions(kind, 10, 4, padding_index=1)(10, 1)


def test_sinusoidal_tables_are_not_saved() -> None:
    assert not build_positions("marian", 10, 4, padding_index=1).state_dict()


def test_an_unknown_kind_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="marian, fairseq, learned"):
        build_positions("rotary", 10, 4, padding_index=1)
