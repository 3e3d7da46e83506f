"""Rows without padding: what linear layers and norms work on, while attention sees rectangles."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROW_MULTIPLE = 64
"""Row counts are rounded up to a multiple: oneDNN keeps what it prepares for each shape."""


class Packing:
    """Where the real positions of padded sequences lie among rows that hold nothing else.

    The rows are the real positions in order, then 1 to 64 spare ones: they make the number of
    rows a multiple of 64, and padded positions read the first of them. What is computed in them
    reaches no result, and their gradients are zero.

    Args:
        padding_mask: True at padding, bool [batch, time], on a CPU: the number of rows depends on
            it.
    """

    def __init__(self, padding_mask: Tensor) -> None:
        self.batch, self.time = padding_mask.shape
        real = (~padding_mask).flatten().nonzero().squeeze(1)
        self.num_real = real.numel()
        self.num_rows = self.num_real - self.num_real % ROW_MULTIPLE + ROW_MULTIPLE
        self.positions = torch.nn.functional.pad(real, (0, self.num_rows - self.num_real))
        """Position in the flattened rectangle of each row, int64 [rows]; 0 for spare ones."""
        self.rows = torch.full((padding_mask.numel(),), self.num_real)
        """Row of each position, int64 [batch * time]; the first spare one for padding."""
        self.rows[real] = torch.arange(self.num_real)
        self._by_parts: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def pack(self, padded: Tensor, spare: int) -> Tensor:
        """Returns the values of real positions as rows, without a gradient.

        Args:
            padded: One value for each position, [batch, time].
            spare: Fills spare rows.

        Returns:
            [rows].
        """
        packed = padded.flatten().index_select(0, self.positions)
        packed[self.num_real :] = spare
        return packed

    def unpack(self, packed: Tensor) -> Tensor:
        """Returns rows, [rows, dim], as a rectangle, [batch, time, dim]; meaningless at padding."""
        return self.unpack_heads(packed, 1, packed.size(1)).view(self.batch, self.time, -1)

    def unpack_heads(self, packed: Tensor, parts: int, head: int) -> Tensor:
        """Returns each head of rows as a rectangle; meaningless at padding.

        Args:
            packed: [rows, heads * parts * head]: head by head, and by part within a head.
            parts: 3 for queries, keys and values; 2 for keys and values; 1 for queries.
            head: Width of one head.

        Returns:
            [parts, batch, heads, time, head].
        """
        heads = packed.size(1) // (parts * head)
        there, back = self._indices(parts, heads)
        num_used = self.num_real * heads * parts
        unpacked = _Rearrange.apply(packed.view(-1, head), there, back, num_used)  # type: ignore[no-untyped-call] # torch leaves it untyped
        return unpacked.view(parts, self.batch, heads, self.time, head)

    def pack_heads(self, padded: Tensor) -> Tensor:
        """Returns the real positions of each head as rows: the inverse of `unpack_heads`.

        Args:
            padded: [batch, heads, time, head], contiguous.

        Returns:
            [rows, heads * head].
        """
        _, heads, _, head = padded.shape
        there, back = self._indices(1, heads)
        values = padded.reshape(-1, head)
        packed = _Rearrange.apply(values, back, there, len(values))  # type: ignore[no-untyped-call] # see above
        return packed.view(self.num_rows, heads * head)

    def _indices(self, parts: int, heads: int) -> tuple[Tensor, Tensor]:
        """Returns the row of each padded place, and the padded place of each row."""
        if (parts, heads) not in self._by_parts:
            part, head = torch.arange(parts), torch.arange(heads)
            rows = self.rows.view(1, self.batch, 1, self.time)
            there = (rows * heads + head[:, None]) * parts + part[:, None, None, None]
            sentence = part * self.batch + (self.positions // self.time)[:, None, None]
            place = (sentence * heads + head[:, None]) * self.time
            back = place + (self.positions % self.time)[:, None, None]
            self._by_parts[parts, heads] = there.flatten(), back.flatten()
        return self._by_parts[parts, heads]


def packing_for(padding_mask: Tensor) -> Packing | None:
    """Returns the packing to use, or None where rectangles are better.

    On a CPU arithmetic costs most, and the number of rows is known at once. Other devices would
    have to wait for it. A graph that is being exported or compiled must not depend on it.

    Args:
        padding_mask: True at padding, bool [batch, time].
    """
    if padding_mask.device.type != "cpu" or padding_mask.size(1) == 1:
        return None
    return None if torch.compiler.is_compiling() else Packing(padding_mask)


class _Rearrange(torch.autograd.Function):
    """Selects vectors. The gradient selects them back, as each is used once or is spare.

    Those from the index num_used on are spare, and get no gradient.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def] # the type of ctx is private to torch
        ctx, values: Tensor, there: Tensor, back: Tensor, num_used: int
    ) -> Tensor:
        ctx.save_for_backward(back)
        ctx.num_used = num_used
        return values.index_select(0, there)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[no-untyped-def] # see above
        (back,) = ctx.saved_tensors
        of_values = gradient.index_select(0, back)
        of_values[ctx.num_used :] = 0.0
        return of_values, None, None, None
