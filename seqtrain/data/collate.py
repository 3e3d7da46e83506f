"""Sequences of different lengths, put into one rectangle."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def pad_ragged(
    flat: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    padding: int,
    prepend: int | None = None,
    append: int | None = None,
) -> Tensor:
    """Returns sequences as rows, padded on the right.

    Args:
        flat: All sequences one after the other, [sum of lengths].
        lengths: Length of each, [batch].
        padding: Fills the rest of the rows.
        prepend: Id that goes before each sequence.
        append: Id that goes after each sequence, before the padding.

    Returns:
        int64 [batch, time]; time is the longest row's, at least 1.
    """
    shift = int(prepend is not None)
    widest = int(lengths.max(initial=0)) + shift + int(append is not None)
    rows = np.full((len(lengths), max(widest, 1)), padding, dtype=np.int64)
    row_begins = np.arange(len(lengths)) * rows.shape[1] + shift
    rows.reshape(-1)[ranges(row_begins, lengths)] = flat
    if prepend is not None:
        rows[:, 0] = prepend
    if append is not None:
        rows[np.arange(len(lengths)), lengths + shift] = append
    return torch.from_numpy(rows)


def ranges(begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns begin, begin + 1, ..., begin + length - 1 of each range, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(total)
