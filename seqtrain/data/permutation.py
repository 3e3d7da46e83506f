"""A random order of range(n), evaluated for a slice without ever holding all of it."""

from math import isqrt

import numpy as np
import numpy.typing as npt

from seqtrain import rng
from seqtrain.data.keyed_random import mix_bits

NUM_ROUNDS = 8


def permutation_slice(
    size: int, begin: int, end: int, *key_parts: int | str
) -> npt.NDArray[np.int64]:
    """Returns elements begin to end of a keyed permutation of range(size); see `permute`.

    Args:
        size: Number of elements, below 2**62.
        begin: First place of the slice.
        end: Place after the slice's last.
        key_parts: What the order is for: seed, epoch.

    Returns:
        [end - begin]. Time and memory are O(end - begin).
    """
    return permute(size, np.arange(begin, end, dtype=np.int64), *key_parts)


def permute(
    size: int, places: npt.NDArray[np.int64], *key_parts: int | str
) -> npt.NDArray[np.int64]:
    """Returns the elements at some places of a keyed permutation of range(size).

    A Feistel network on pairs (x % left, x // left) permutes range(left * right), the smallest
    such rectangle that covers range(size); numbers outside are mapped again until they fall
    inside (cycle walking; Black and Rogaway, 2002, "Ciphers with arbitrary finite domains").
    The result depends on nothing but the arguments, on any machine.

    Args:
        size: Number of elements, below 2**62.
        places: From 0 to size - 1, [places].
        key_parts: What the order is for: seed, epoch.

    Returns:
        [places]. Time and memory are O(places).
    """
    if size <= 1:
        return places
    left = isqrt(size - 1) + 1
    right = -(-size // left)
    keys = [
        np.uint64(rng.key(*key_parts, "round", number) << 32 | rng.key(*key_parts, number))
        for number in range(NUM_ROUNDS)
    ]
    values = _feistel(places.astype(np.uint64), left, right, keys)
    outside = np.flatnonzero(values >= size)
    while len(outside):
        values[outside] = _feistel(values[outside], left, right, keys)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _feistel(
    values: npt.NDArray[np.uint64], left: int, right: int, keys: list[np.uint64]
) -> npt.NDArray[np.uint64]:
    high, low = np.divmod(values, np.uint64(left))
    for number, key in enumerate(keys):
        if number % 2:
            high = (high + mix_bits(low ^ key) % np.uint64(right)) % np.uint64(right)
        else:
            low = (low + mix_bits(high ^ key) % np.uint64(left)) % np.uint64(left)
    return high * np.uint64(left) + low
