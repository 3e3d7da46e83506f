"""Position embeddings: two sinusoidal tables, and a learned one."""

import math

import torch
from torch import Tensor, nn

from seqtrain.errors import ConfigError, DataError

POSITION_KINDS = ("marian", "fairseq", "learned")


def build_positions(kind: str, max_positions: int, dim: int, padding_index: int) -> "Positions":
    """Returns the position embedding of that kind.

    Args:
        kind: "marian", "fairseq" or "learned".
        max_positions: Longest sequence.
        dim: Width, even for the sinusoidal kinds.
        padding_index: Symbol id of padding, from which "fairseq" counts.
    """
    if kind == "marian":
        return SinusoidalPositions(marian_table(max_positions, dim), first=0)
    if kind == "fairseq":
        first = padding_index + 1
        return SinusoidalPositions(fairseq_table(max_positions + first, dim, padding_index), first)
    if kind == "learned":
        return LearnedPositions(max_positions, dim)
    choices = ", ".join(POSITION_KINDS)
    raise ConfigError(f"model.positions must be auto, {choices}, got {kind!r}.")


class Positions(nn.Module):
    """A table with one row for each position.

    Args:
        max_positions: Longest sequence.
        first: Row of the first position.
    """

    def __init__(self, max_positions: int, first: int = 0) -> None:
        super().__init__()
        self.max_positions = max_positions
        self.first = first

    def forward(self, start: int, length: int) -> Tensor:
        """Returns the rows of positions start to start + length, [length, dim].

        Raises:
            DataError: The sequence is longer than the table.
        """
        if start + length > self.max_positions:
            raise DataError(
                f"A sequence has {start + length} positions, but model.max_positions is "
                f"{self.max_positions}. Raise it, or leave out longer examples."
            )
        return self.rows()[self.first + start : self.first + start + length]

    def at(self, positions: Tensor) -> Tensor:
        """Returns the rows of single positions, [positions, dim]; they must be in the table."""
        return self.rows()[self.first + positions]

    def rows(self) -> Tensor:
        """Returns the table, [rows, dim]."""
        raise NotImplementedError


class SinusoidalPositions(Positions):
    """A fixed table, which is not saved.

    Args:
        table: [rows, dim].
        first: Row of the first position.
    """

    table: Tensor

    def __init__(self, table: Tensor, first: int) -> None:
        super().__init__(table.size(0) - first, first)
        self.register_buffer("table", table, persistent=False)

    def rows(self) -> Tensor:
        """Returns the table, [rows, dim]."""
        return self.table


class LearnedPositions(Positions):
    """A trained table, normally distributed at first with standard deviation dim ** -0.5.

    Args:
        max_positions: Longest sequence.
        dim: Width.
    """

    def __init__(self, max_positions: int, dim: int) -> None:
        super().__init__(max_positions)
        self.weight = nn.Parameter(torch.empty(max_positions, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)

    def rows(self) -> Tensor:
        """Returns the table, [rows, dim]."""
        return self.weight


def marian_table(num_rows: int, dim: int) -> Tensor:
    """Returns [sin | cos] of position * 10000 ** (-2i / dim), [num_rows, dim]."""
    exponents = torch.arange(dim // 2, dtype=torch.float64) * (-2.0 / dim)
    return _sinusoids(num_rows, 10000.0**exponents)


def fairseq_table(num_rows: int, dim: int, padding_index: int) -> Tensor:
    """Returns [sin | cos] of row * 10000 ** (-i / (dim / 2 - 1)), [num_rows, dim].

    The row of the padding symbol is zero. Also the table of tensor2tensor, counted from
    padding_index + 1.
    """
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float64) * (-math.log(10000.0) / max(half - 1, 1))
    table = _sinusoids(num_rows, exponents.exp())
    table[padding_index] = 0.0
    return table


def _sinusoids(num_rows: int, frequencies: Tensor) -> Tensor:
    angles = torch.arange(num_rows, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(torch.get_default_dtype())
