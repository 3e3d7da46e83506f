"""Which rank takes charge of which tensor."""

from collections.abc import Sequence


def divide_by_size(sizes: Sequence[int], num_ranks: int) -> list[int]:
    """Returns the rank in charge of each of some tensors, so that all have about as much.

    The largest come first, each to the rank with the least so far; the same on every rank.

    Args:
        sizes: Elements of each tensor.
        num_ranks: At least 1.
    """
    loads = [0] * num_ranks
    owners = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        owner = loads.index(min(loads))
        owners[index] = owner
        loads[owner] += sizes[index]
    return owners
