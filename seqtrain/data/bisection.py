"""Search in ascending numbers that are too many to hold."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
MOST_KEPT = 1 << 16


def last_not_above(
    number_at: Callable[[IntArray], IntArray], values: IntArray, low: IntArray, high: IntArray
) -> IntArray:
    """Returns the last index from low to high whose number is not above the value.

    Args:
        number_at: Gives the numbers at some indices, ascending with the index.
        values: What is searched, [values].
        low: First index that is considered, for each value; the result where all are above.
        high: The last one.
    """
    while (low < high).any():
        middle = (low + high + 1) // 2
        is_not_above = number_at(middle) <= values
        low, high = np.where(is_not_above, middle, low), np.where(is_not_above, high, middle - 1)
    return low


class AscendingNumbers:
    """Ascending numbers by index, of which up to 65,536 are kept to search among the others.

    Args:
        number_at: Gives the numbers at some indices.
        count: How many there are.
    """

    def __init__(self, number_at: Callable[[IntArray], IntArray], count: int) -> None:
        self._number_at = number_at
        self._count = count
        self._step = max(1, -(-count // MOST_KEPT))
        self._kept = number_at(np.arange(0, count, self._step, dtype=np.int64))

    def last_not_above(self, values: IntArray) -> IntArray:
        """Returns the last index whose number is not above each value; 0 where there is none."""
        group = np.maximum(np.searchsorted(self._kept, values, side="right") - 1, 0)
        low = group * self._step
        high = np.minimum(low + self._step - 1, max(self._count - 1, 0))
        return last_not_above(self._number_at, values, low, high)
