"""Checkpoints of a model that lies on several ranks: each writes its pieces, a reader joins them.

A part NAME is then several: rank 0's NAME, without the pieces, and each rank's NAME-rank-<5 digits>
with its own. Joined they are the same tree whatever the number of ranks, and however they had
divided it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqtrain.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class Piece:
    """A block of a tensor, whose other blocks are on other ranks. A leaf of a tree."""

    values: Tensor
    """What this rank holds; perhaps empty."""
    shape: tuple[int, ...]
    """Of the whole tensor."""
    begin: tuple[int, ...]
    """Where in it the block begins."""
    count: int = 1
    """Blocks that the tensor is divided into, each on as many ranks; not known of what was read."""


@dataclass(frozen=True)
class Own:
    """A branch of a tree that this rank alone has."""

    tree: Any


def divide(parts: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """Returns the parts that a rank writes.

    Args:
        parts: Trees by name, with pieces in dicts and lists; the same names on every rank.
        rank: The first one also writes all that is no piece.
    """
    divided = {}
    for name, tree in parts.items():
        pieces = _pieces_of(tree)
        if rank == 0:
            divided[name] = tree if pieces is None else _rest_of(tree)
        if pieces is not None:
            divided[f"{name}-rank-{rank:05d}"] = pieces
    return divided


def merge(trees: Sequence[Any], what: str) -> Any:
    """Returns the tree that ranks have divided; tied tensors are one again.

    Args:
        trees: What each rank has written, the common part first.
        what: Name of the part, for messages.

    Raises:
        CheckpointError: They do not fit together, or a tensor has a hole.
    """
    return _Merger({}).merge(trees, what)


def _pieces_of(tree: Any) -> Any:
    """Returns the pieces alone, in their places; None if there are none."""
    if isinstance(tree, Piece):
        return tree
    if isinstance(tree, Own):
        return tree.tree
    if isinstance(tree, Mapping):
        found = {key: _pieces_of(child) for key, child in tree.items()}
        return {key: child for key, child in found.items() if child is not None} or None
    if isinstance(tree, list):
        children = [_pieces_of(child) for child in tree]
        if any(child is not None for child in children):
            return [{} if child is None else child for child in children]
    return None


def _rest_of(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _rest_of(child) for key, child in tree.items() if not isinstance(child, Own)}
    if isinstance(tree, list):
        return [_rest_of(child) for child in tree]
    return {} if isinstance(tree, Piece) else tree  # keeps the order of keys


@dataclass
class _Merger:
    joined: dict[tuple[int, ...], Tensor]
    """Whole tensors by the blocks that they were made of: tied ones have the same."""

    def merge(self, trees: Sequence[Any], where: str) -> Any:
        if len(trees) > 1:
            # What stands in the place of a piece, or of an element of a list without pieces.
            trees = [tree for tree in trees if not _is_empty(tree)] or trees[:1]
        if all(isinstance(tree, Mapping) for tree in trees):
            keys = list(dict.fromkeys(key for tree in trees for key in tree))
            return {
                key: self.merge([tree[key] for tree in trees if key in tree], f"{where}/{key}")
                for key in keys
            }
        if all(isinstance(tree, list) and len(tree) == len(trees[0]) for tree in trees):
            rows = zip(*trees, strict=True)
            return [self.merge(row, f"{where}/{index}") for index, row in enumerate(rows)]
        if all(isinstance(tree, Piece) for tree in trees):
            return self.join(trees, where)
        if len(trees) == 1:
            return trees[0]
        raise CheckpointError(f"{where}: what the ranks have written does not fit together.")

    def join(self, pieces: Sequence[Piece], where: str) -> Tensor:
        blocks = [piece for piece in pieces if piece.values.numel()]
        identity = tuple(id(piece.values) for piece in blocks)
        if not blocks or identity not in self.joined:
            whole = _joined(pieces, where)
            if not blocks:
                return whole
            self.joined[identity] = whole
        return self.joined[identity]


def _joined(pieces: Sequence[Piece], where: str) -> Tensor:
    pieces = _without_copies(pieces, where)
    shape, dtype = pieces[0].shape, pieces[0].values.dtype
    for piece in pieces:
        if piece.shape != shape or piece.values.dtype != dtype or not _lies_within(piece):
            raise CheckpointError(f"{where}: a piece is not one of a tensor of {list(shape)}.")
    # Compared before memory is asked for: a shape is only a claim.
    if sum(piece.values.numel() for piece in pieces) != math.prod(shape):
        raise CheckpointError(f"{where}: the pieces are not as large as the tensor {list(shape)}.")
    if len(pieces) == 1:
        return pieces[0].values
    whole = torch.empty(shape, dtype=dtype)
    is_filled = torch.zeros(shape, dtype=torch.bool)
    for piece in pieces:
        place = tuple(
            slice(begin, begin + size)
            for begin, size in zip(piece.begin, piece.values.shape, strict=True)
        )
        if bool(is_filled[place].any()):
            raise CheckpointError(f"{where}: two pieces overlap.")
        is_filled[place] = True
        whole[place] = piece.values
    return whole


def _without_copies(pieces: Sequence[Piece], where: str) -> list[Piece]:
    """Returns the pieces without those that several ranks hold, after a look at their equality."""
    found: dict[tuple[Any, ...], Piece] = {}
    for piece in pieces:
        first = found.setdefault((piece.begin, piece.values.shape), piece)
        if first is not piece and not torch.equal(first.values, piece.values):
            raise CheckpointError(f"{where}: two ranks have different copies of a piece.")
    return list(found.values())


def _is_empty(tree: Any) -> bool:
    return isinstance(tree, Mapping) and not tree


def _lies_within(piece: Piece) -> bool:
    sizes = piece.values.shape
    if not len(sizes) == len(piece.shape) == len(piece.begin):
        return False
    return all(
        begin + size <= whole
        for begin, size, whole in zip(piece.begin, sizes, piece.shape, strict=True)
    )
