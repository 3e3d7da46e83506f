"""Compares what several ranks hold of the same state: whole values, and copies of a piece."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from seqtrain.checkpoint.pieces import Own, Piece
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.desync import Held, checksum, require_same


def require_same_state(tree: Any, collectives: Collectives, num_updates: int) -> None:
    """Compares all leaves of a tree that more than one rank holds.

    Args:
        tree: As a checkpoint has it, with pieces of what is divided; of the same form on every
            rank but for branches that one rank has alone.
        collectives: Connected to the other ranks; all call this together.
        num_updates: For the message.

    Raises:
        DistributedError: On every rank; names the first leaf that differs, and the ranks.
    """
    held = [_held(path, leaf) for path, leaf in _shared_leaves(tree, "", collectives.world_size)]
    require_same(held, collectives, num_updates)


def require_same_pieces(tree: Any, collectives: Collectives, num_updates: int) -> None:
    """Compares the pieces alone that more than one rank holds, and writes; see above."""
    leaves = _shared_leaves(tree, "", collectives.world_size)
    held = [_held(path, leaf) for path, leaf in leaves if isinstance(leaf, Piece)]
    require_same(held, collectives, num_updates)


def _shared_leaves(tree: Any, path: str, world_size: int) -> Iterator[tuple[str, Any]]:
    """Yields the leaves of which other ranks hold copies, each with its path."""
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from _shared_leaves(child, f"{path}/{key}" if path else key, world_size)
    elif isinstance(tree, list | tuple):
        for index, child in enumerate(tree):
            yield from _shared_leaves(child, f"{path}/{index}", world_size)
    elif isinstance(tree, Piece):
        if world_size > tree.count:
            yield path, tree
    elif not isinstance(tree, Own):
        yield path, tree


def _held(path: str, leaf: Any) -> Held:
    if isinstance(leaf, Piece):
        return Held(path, (*leaf.begin, *leaf.values.shape), checksum(leaf.values))
    if isinstance(leaf, Tensor):
        return Held(path, (), checksum(leaf))
    return Held(path, (), torch.tensor(zlib.crc32(repr(leaf).encode())))
