"""Rotary positions (Su et al. 2021): queries and keys turned by angles that grow with position."""

import torch
from torch import Tensor, nn

from seqtrain.errors import DataError


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turns each pair of neighbouring values, seen as a complex number, by its angle.

    Args:
        x: [..., time, head], head even.
        rotation: Complex numbers of length 1, [time, head / 2].

    Returns:
        The same shape and type; computed in float32 at least.
    """
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)


class RotaryPositions(nn.Module):
    """A fixed table of the angles of every position, which is not saved.

    The score of a query and a key depends on the distance of their positions alone, so a document
    in the middle of a row gets the same scores as one at its beginning.

    Args:
        max_positions: Longest sequence.
        head: Width of one head, even.
        base: Pair i turns by base ** (-2i / head) radians from one position to the next.
    """

    table: Tensor

    def __init__(self, max_positions: int, head: int, base: float = 10000.0) -> None:
        super().__init__()
        self.max_positions = max_positions
        frequencies = base ** (torch.arange(0, head, 2, dtype=torch.float64) / -head)
        angles = torch.arange(max_positions, dtype=torch.float64)[:, None] * frequencies
        # Real numbers, since a module that is moved to another type would lose imaginary parts.
        table = torch.stack([angles.cos(), angles.sin()], dim=-1)
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)

    def forward(self, start: int, length: int) -> Tensor:
        """Returns the rotation of positions start to start + length, complex [length, head / 2].

        Raises:
            DataError: The sequence is longer than the table.
        """
        if start + length > self.max_positions:
            raise DataError(
                f"A sequence has {start + length} positions, but model.max_positions is "
                f"{self.max_positions}. Raise it, or leave out longer examples."
            )
        return _as_complex(self.table[start : start + length])

    def at(self, positions: Tensor) -> Tensor:
        """Returns the rotation of single positions, complex [positions, head / 2]."""
        return _as_complex(self.table[positions])


def _as_complex(rows: Tensor) -> Tensor:
    return torch.view_as_complex(rows if rows.dtype == torch.float64 else rows.float())
