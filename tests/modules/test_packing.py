"""Rows without padding: there and back, values and gradients."""

import pytest
import torch
from torch import Tensor

from seqtrain.modules.attention import split_heads
from seqtrain.modules.packing import ROW_MULTIPLE, Packing, packing_for

MASK = torch.tensor([[False] * 4, [False, False, True, True], [False, True, True, True]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _packed(packing: Packing, padded: Tensor) -> Tensor:
    """Returns real positions, [batch, time, dim], as rows, by hand; spare rows are not zero."""
    rows = torch.full((packing.num_rows, padded.size(2)), 7.0, dtype=padded.dtype)
    rows[: packing.num_real] = padded[~MASK]
    return rows.requires_grad_()


def test_rows_hold_the_real_positions_in_order_and_spare_ones_up_to_a_multiple() -> None:
    packing = Packing(MASK)
    tokens = torch.tensor([[5, 6, 7, 2], [8, 2, 1, 1], [2, 1, 1, 1]])
    packed = packing.pack(tokens, spare=1)
    assert packed[: packing.num_real].tolist() == [5, 6, 7, 2, 8, 2, 2]
    assert packed[packing.num_real :].eq(1).all()
    assert packed.numel() == ROW_MULTIPLE


@pytest.mark.parametrize("num_real", [63, 64, 65])
def test_there_is_always_a_spare_row(num_real: int) -> None:
    packing = Packing(torch.arange(70)[None] >= num_real)
    assert packing.num_rows % ROW_MULTIPLE == 0
    assert num_real < packing.num_rows <= num_real + ROW_MULTIPLE


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_heads_of_rows_are_those_of_the_rectangle(parts: int) -> None:
    packing, padded = Packing(MASK), torch.randn(3, 4, 2 * parts * 5, dtype=torch.float64)
    found = packing.unpack_heads(_packed(packing, padded), parts, 5)
    for part, expected in zip(found, split_heads(padded, parts, 5), strict=True):
        torch.testing.assert_close(part.transpose(1, 2)[~MASK], expected.transpose(1, 2)[~MASK])


def test_packing_undoes_unpacking() -> None:
    packing, padded = Packing(MASK), torch.randn(3, 4, 6)
    rows = _packed(packing, padded)
    again = packing.pack_heads(packing.unpack_heads(rows, 1, 3)[0])
    torch.testing.assert_close(again[: packing.num_real], rows[: packing.num_real])
    torch.testing.assert_close(packing.unpack(rows)[~MASK], padded[~MASK])


def test_gradients_reach_real_rows_alone() -> None:
    packing, padded = Packing(MASK), torch.randn(3, 4, 6)
    rows, weights = _packed(packing, padded), torch.randn(3, 4, 6)
    (packing.unpack(rows) * weights).sum().backward()
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad[: packing.num_real], weights[~MASK])
    assert not rows.grad[packing.num_real :].any()


def test_gradients_of_packing_reach_real_positions_alone_if_spare_rows_have_none() -> None:
    packing = Packing(MASK)
    padded = torch.randn(3, 2, 4, 3, requires_grad=True)
    of_rows = torch.randn(packing.num_rows, 6)
    of_rows[packing.num_real :] = 0.0
    packing.pack_heads(padded).backward(of_rows)
    assert padded.grad is not None
    by_position = padded.grad.transpose(1, 2).flatten(2)
    torch.testing.assert_close(by_position[~MASK], of_rows[: packing.num_real])
    assert not by_position[MASK].any()


def test_a_single_position_and_an_exported_graph_are_not_packed() -> None:
    assert packing_for(MASK[:, :1]) is None
    assert isinstance(packing_for(MASK), Packing)

    class Asks(torch.nn.Module):
        def forward(self, mask: Tensor) -> Tensor:
            return mask.float() * (1.0 if packing_for(mask) is None else 2.0)

    exported = torch.export.export(Asks(), (MASK,)).module()
    torch.testing.assert_close(exported(MASK), MASK.float())


def test_a_mask_of_padding_alone_gives_spare_rows_alone() -> None:
    packing = Packing(torch.ones(2, 3, dtype=torch.bool))
    rows = torch.randn(packing.num_rows, 4, requires_grad=True)
    packing.unpack(rows).sum().backward()
    assert packing.num_real == 0
    assert rows.grad is not None
    assert not rows.grad.any()
