"""Rotary positions against plain trigonometry."""

import math

import pytest
import torch

from seqtrain.errors import DataError
from seqtrain.modules.rotary import RotaryPositions, rotate


def test_each_pair_of_values_is_turned_by_position_times_frequency() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    positions = RotaryPositions(16, 8, base=100.0)
    found = rotate(x, positions(2, 5))
    for time in range(5):
        for pair in range(4):
            angle = (2 + time) * 100.0 ** (-2 * pair / 8)
            first, second = x[:, :, time, 2 * pair], x[:, :, time, 2 * pair + 1]
            turned = torch.stack(
                [
                    first * math.cos(angle) - second * math.sin(angle),
                    first * math.sin(angle) + second * math.cos(angle),
                ],
                dim=-1,
            )
            torch.testing.assert_close(
                found[:, :, time, 2 * pair : 2 * pair + 2], turned, rtol=0, atol=1e-6
            )


def test_scores_depend_on_distances_alone() -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(2, 6, 8)
    positions = RotaryPositions(64, 8)
    here, there = positions(0, 6), positions(40, 6)
    torch.testing.assert_close(
        rotate(queries, here) @ rotate(keys, here).T,
        rotate(queries, there) @ rotate(keys, there).T,
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_type_of_values_is_kept(dtype: torch.dtype) -> None:
    positions = RotaryPositions(4, 2)
    assert rotate(torch.ones(4, 2, dtype=dtype), positions(0, 4)).dtype == dtype


def test_a_module_of_another_type_still_turns() -> None:
    positions = RotaryPositions(4, 2).to(torch.bfloat16)
    found = rotate(torch.ones(4, 2), positions(0, 4))
    expected = rotate(torch.ones(4, 2), RotaryPositions(4, 2)(0, 4))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)


def test_a_sequence_beyond_the_table_is_a_data_error() -> None:
    with pytest.raises(DataError, match=r"5 positions, but model\.max_positions is 4"):
        RotaryPositions(4, 2)(2, 3)
