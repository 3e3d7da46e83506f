"""Random numbers that are a function of what they are for: computed, not drawn from a stream."""

import numpy as np
import numpy.typing as npt

from seqtrain import rng
from seqtrain.data.collate import ranges

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix_bits(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014); arithmetic is modulo 2**64."""
    values = values + GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class ExampleRandom:
    """A sequence of random numbers for each example of a batch.

    What an example gets depends on (seed, epoch, its index) alone: not on the batch that it is
    in, on workers, or on what was drawn before.

    Args:
        seed: The run's.
        epoch: Pass over the data.
        indices: The examples' indices in the dataset, [batch].
    """

    def __init__(self, seed: int, epoch: int, indices: IntArray) -> None:
        self._key = (seed, epoch)
        self._indices = indices.astype(np.uint64)

    def uniform(self, purpose: str, counts: IntArray) -> FloatArray:
        """Returns numbers from 0 to below 1, those of one example after another's.

        Args:
            purpose: Another one gives other numbers.
            counts: How many for each example, [batch]. Asking for more changes no earlier one.

        Returns:
            [sum of counts].
        """
        parts = (rng.key(*self._key, purpose, half) for half in ("high", "low"))
        high, low = (np.uint64(part) for part in parts)
        streams = mix_bits(mix_bits(self._indices ^ (high << np.uint64(32) | low)))
        places = ranges(0 * counts, counts).astype(np.uint64)
        bits = mix_bits(np.repeat(streams, counts) + places * GOLDEN)
        # 53 bits are what a double holds.
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def uniform_each(self, purpose: str) -> FloatArray:
        """Returns one number for each example, [batch]."""
        return self.uniform(purpose, np.ones(len(self._indices), dtype=np.int64))


def rank_within(owners: IntArray, scores: FloatArray) -> IntArray:
    """Returns the rank of each score among those of its owner, from 0 for the smallest.

    Args:
        owners: Ascending, [scores].
        scores: What is ranked; the earlier one of equals comes first.
    """
    order = np.lexsort((scores, owners))
    counts = np.bincount(owners) if len(owners) else owners
    ranks = np.empty_like(owners)
    ranks[order] = ranges(0 * counts, counts)
    return ranks
