"""Trees of plain values and tensors, split into JSON with references and a flat set of tensors.

A tensor becomes `{"$tensor": name}`, a tuple `{"$tuple": [...]}`, a float that JSON cannot say
`{"$float": "nan"}` ("inf", "-inf"), a piece `{"$piece": [tensor, shape, begin]}`. Keys of the tree
that begin with "$" get a second one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from seqtrain.checkpoint.pieces import Piece
from seqtrain.checkpoint.strict_json import MAX_DEPTH
from seqtrain.errors import CheckpointError

Tree: TypeAlias = Any
"""None, bool, int, float, str, tensor, piece, or a dict with str keys, list or tuple of trees."""

_SPECIAL_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class SplitTree:
    """A tree in two halves; `join` puts them together."""

    plain: Any
    """JSON with references to tensors."""
    tensors: dict[str, Tensor]
    """Tensors by name. A name is the path of keys joined by "/", so a flat dict keeps its names."""
    aliases: dict[str, str]
    """Names of leaves that are the same tensor as another, and that one's name in `tensors`."""


def split(tree: Tree, part: str) -> SplitTree:
    """Splits a tree. Tensors are taken as they are: not copied, not moved.

    Args:
        tree: What to split.
        part: Its name, for messages.

    Raises:
        CheckpointError: A leaf is neither plain nor a dense tensor, or the nesting is too deep.
    """
    splitter = _Splitter(part)
    plain = splitter.encode(tree, ())
    return SplitTree(plain, splitter.tensors, splitter.aliases)


def join(plain: Any, tensors: Mapping[str, Tensor], what: str) -> Tree:
    """Returns the tree whose halves these are. Tied leaves are one tensor again.

    Args:
        plain: JSON with references.
        tensors: Exactly the tensors that it refers to.
        what: File that the message of an error begins with.

    Raises:
        CheckpointError: The halves do not belong together.
    """
    joiner = _Joiner(tensors, what)
    tree = joiner.decode(plain)
    unused = tensors.keys() - joiner.used
    if unused:
        raise CheckpointError(f"{what}: does not refer to the tensor {min(unused)!r}.")
    return tree


@dataclass
class _Splitter:
    part: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    seen: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def encode(self, tree: Tree, path: tuple[str, ...]) -> Any:
        if len(path) >= MAX_DEPTH:
            raise self.error(path[:4], f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(tree, Tensor):
            return {"$tensor": self.name_of(tree, path)}
        if isinstance(tree, Piece):
            name = self.name_of(tree.values, path)
            return {"$piece": [{"$tensor": name}, list(tree.shape), list(tree.begin)]}
        if isinstance(tree, Mapping):
            return {self.key(k, path): self.encode(v, (*path, k)) for k, v in tree.items()}
        if isinstance(tree, list):
            return [self.encode(child, (*path, str(i))) for i, child in enumerate(tree)]
        if isinstance(tree, tuple):
            # The inner list is a level of its own, in the path as in the JSON.
            return {"$tuple": self.encode(list(tree), (*path, "$tuple"))}
        return self.leaf(tree, path)

    def leaf(self, value: Any, path: tuple[str, ...]) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if isinstance(value, str):
            return self.text(value, path)
        raise self.error(path, f"a {type(value).__name__} is neither a plain value nor a tensor")

    def key(self, key: Any, path: tuple[str, ...]) -> str:
        if not isinstance(key, str):
            raise self.error(path, f"keys must be str, got {key!r}")
        text = self.text(key, path)
        return f"${text}" if text.startswith("$") else text

    def text(self, value: str, path: tuple[str, ...]) -> str:
        try:
            return value.encode("utf-8").decode("utf-8")
        except UnicodeEncodeError as error:
            raise self.error(path, f"{value!r} is not valid Unicode") from error

    def name_of(self, tensor: Tensor, path: tuple[str, ...]) -> str:
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
            raise self.error(path, f"only dense tensors can be saved, not {tensor.layout}")
        name = self.free_name("/".join(path) or "tensor")
        identity = _identity(tensor)
        kept = self.seen.setdefault(identity, name) if identity else name
        if kept == name:
            self.tensors[name] = tensor
        else:
            self.aliases[name] = kept
        return kept

    def free_name(self, wanted: str) -> str:
        """Returns the name, or the first of its numbered forms: keys may contain "/" themselves."""
        name, number = wanted, 1
        while name in self.tensors or name in self.aliases or name == "__metadata__":
            number += 1
            name = f"{wanted}#{number}"
        return name

    def error(self, path: tuple[str, ...], reason: str) -> CheckpointError:
        return CheckpointError(f"Part {'/'.join((self.part, *path))}: {reason}.")


@dataclass
class _Joiner:
    tensors: Mapping[str, Tensor]
    what: str
    used: set[str] = field(default_factory=set)

    def decode(self, plain: Any) -> Tree:
        if isinstance(plain, list):
            return [self.decode(child) for child in plain]
        if not isinstance(plain, dict):
            return plain
        if len(plain) == 1:
            [(key, value)] = plain.items()
            if key in self.markers:
                return self.markers[key](self, value)
        return {self.key(key): self.decode(value) for key, value in plain.items()}

    def key(self, key: str) -> str:
        if key.startswith("$"):
            if not key.startswith("$$"):
                raise self.error(key)
            return key[1:]
        return key

    def tensor(self, name: Any) -> Tensor:
        if not isinstance(name, str) or name not in self.tensors:
            raise CheckpointError(f"{self.what}: refers to a tensor {name!r} that is not there.")
        self.used.add(name)
        return self.tensors[name]

    def special_float(self, name: Any) -> float:
        if not isinstance(name, str) or name not in _SPECIAL_FLOATS:
            raise self.error(f"$float {name!r}")
        return _SPECIAL_FLOATS[name]

    def as_tuple(self, items: Any) -> tuple[Tree, ...]:
        if not isinstance(items, list):
            raise self.error("$tuple")
        return tuple(self.decode(item) for item in items)

    def piece(self, items: Any) -> Piece:
        if not isinstance(items, list) or len(items) != 3:
            raise self.error("$piece")
        values, shape, begin = self.decode(items)
        if not isinstance(values, Tensor) or not (_are_counts(shape) and _are_counts(begin)):
            raise self.error("$piece")
        return Piece(values, tuple(shape), tuple(begin))

    def error(self, marker: str) -> CheckpointError:
        return CheckpointError(f"{self.what}: {marker} has no meaning here.")

    markers = {  # noqa: RUF012 # a table of this class's methods, never changed
        "$tensor": tensor,
        "$float": special_float,
        "$tuple": as_tuple,
        "$piece": piece,
    }


def _are_counts(values: Any) -> bool:
    # Not isinstance: True is an int, too. Beyond 2**63 torch takes no size.
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**63 for value in values
    )


def _identity(tensor: Tensor) -> tuple[Any, ...] | None:
    """Returns what tied tensors have in common; None where there is nothing to share."""
    if tensor.numel() == 0:
        return None  # empty tensors may all have the same null pointer
    place = (tensor.device, tensor.data_ptr(), tensor.dtype)
    return (*place, tuple(tensor.shape), tensor.stride(), tensor.is_conj(), tensor.is_neg())


def trees_equal(first: Tree, second: Tree) -> bool:
    """Says whether two trees hold the same values, and tensors of the same content."""
    one, other = split(first, "first"), split(second, "second")
    return (
        one.plain == other.plain
        and one.tensors.keys() == other.tensors.keys()
        and all(_same_content(one.tensors[name], other.tensors[name]) for name in one.tensors)
    )


def _same_content(first: Tensor, second: Tensor) -> bool:
    is_alike = (first.dtype, first.shape) == (second.dtype, second.shape)
    return is_alike and torch.equal(first.cpu(), second.cpu())
