"""Keys and values of several prefixes of each sentence, which are extended and never moved.

What a prefix adds at a time lies in one of its sentence's slots. When prefixes are reordered, the
keys and values stay where they are, and a small table says which slot of each time belongs to
which prefix. All prefixes of a sentence read all slots of it at once; those of others are hidden.
"""

import math

import torch
from torch import Tensor

from seqtrain.modules.attention import MASKED_SCORE

TIMES_AT_ONCE = 8
"""Times by which caches grow. All the room is read, as products of views would copy them."""


class BeamHistory:
    """Where the past of each prefix lies: shared by the caches of all layers.

    Args:
        width: Prefixes of each sentence.
        device: Of the caches.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.width = width
        self.room = 0
        """Times that caches have room for; those not written are hidden."""
        self.lengths = torch.zeros(0, dtype=torch.int64, device=device)
        """Symbols of the prefixes of each sentence, int64 [sentences]."""
        self._slots = torch.zeros(0, width, 0, dtype=torch.int64, device=device)
        self._all = torch.arange(width, device=device)
        self._spare: list[Tensor] = []
        self.newest: int | None = None
        """Where `extend` adds to all sentences; None where their lengths differ."""

    def __len__(self) -> int:
        return self.lengths.size(0)

    def add(self, num_sentences: int, length: int) -> None:
        """Adds sentences with one prefix each, which lies in slot 0."""
        begin = len(self)
        if not begin:
            self.room = 0
        self.lengths = torch.cat([self.lengths, self.lengths.new_full((num_sentences,), length)])
        self._make_room(length)
        self._slots[begin : len(self)] = -1
        self._slots[begin : len(self), :, :length] = 0

    def extend(self, origins: Tensor) -> None:
        """Goes on with prefixes that are each one symbol longer than one of the same sentence.

        Args:
            origins: Which one, int64 [sentences, width].
        """
        num_sentences = len(self)
        shortest, longest = (int(length) for length in self.lengths.aminmax())
        self.newest = longest if shortest == longest else None
        self._make_room(longest + 1)
        slots = self._slots[:num_sentences]
        past = slots.gather(1, origins[:, :, None].expand_as(slots))
        past.scatter_(
            2,
            self.lengths[:, None, None].expand(-1, self.width, 1),
            self._all[None, :, None].expand(num_sentences, -1, 1),
        )
        self._slots[:num_sentences] = past
        self.lengths = self.lengths + 1

    def select(self, positions: Tensor) -> None:
        """Keeps the sentences at these positions, in this order."""
        move_rows(self._slots, positions)
        self.lengths = self.lengths[positions]

    def bias(self, heads: int) -> Tensor:
        """Returns what to add to scores so that a prefix sees its own past.

        Args:
            heads: The same for each; repeated here once for all layers.

        Returns:
            [sentences, heads, width, room * width].
        """
        slots = self._slots[: len(self), :, : self.room]
        is_hidden = (slots[..., None] != self._all).flatten(2)
        bias = is_hidden.to(torch.float32).mul_(MASKED_SCORE)
        return bias[:, None].expand(-1, heads, -1, -1).contiguous()

    def exchange(self, old: Tensor | None, size: int, like: Tensor) -> Tensor:
        """Returns unwritten memory for values, in the place of some that are no longer needed.

        Fresh pages of memory cost more than what is written into them, so they go from hand to
        hand among the caches.

        Args:
            old: What an earlier call returned; its values stay until the next call.
            size: Values wanted.
            like: Gives their type and device.
        """
        fitting = [i for i, each in enumerate(self._spare) if each.numel() >= size]
        pages = self._spare.pop(fitting[0]) if fitting else like.new_empty(size)
        if old is not None:
            self._spare.append(old)
        return pages

    def _make_room(self, length: int) -> None:
        self.room = max(self.room, -(-length // TIMES_AT_ONCE) * TIMES_AT_ONCE)
        self._slots = with_room(self._slots, (len(self), self.width, self.room), fill=-1)


class BeamCache:
    """Keys and values of one layer.

    Args:
        history: Tells where to write, and how much to read.
    """

    def __init__(self, history: BeamHistory) -> None:
        self._keys = _Kept(history)
        self._values = _Kept(history)

    def add(self, keys: Tensor, values: Tensor) -> None:
        """Takes the past of sentences that the history has just added.

        Args:
            keys: [new sentences, heads, time, head].
            values: The same.
        """
        self._keys.add(keys)
        self._values.add(values)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes what the prefixes add at the history's last time; returns all of it.

        Args:
            keys: [sentences, heads, width, head].
            values: The same.

        Returns:
            Keys and values of all times and slots, [sentences, heads, room * width, head]: views.
        """
        return self._keys.append(keys), self._values.append(values)

    def select(self, positions: Tensor) -> None:
        """Keeps the sentences at these positions, in this order."""
        self._keys.select(positions)
        self._values.select(positions)


class _Kept:
    """Keys, or values: [sentences, heads, room, width, head], of which more may lie behind.

    Args:
        history: Tells where to write, and how much to read.
    """

    def __init__(self, history: BeamHistory) -> None:
        self._history = history
        self._pages: Tensor | None = None
        self._view: Tensor | None = None

    def add(self, new: Tensor) -> None:
        count, _, time, _ = new.shape
        end = len(self._history)
        view = self._with_room(end - count, new)
        view[end - count : end, :, :time, 0] = new

    def append(self, new: Tensor) -> Tensor:
        history = self._history
        view = self._with_room(len(history), new)
        if history.newest is not None:
            view[: len(history), :, history.newest] = new
        else:
            rows = torch.arange(len(history), device=new.device)
            view[rows, :, history.lengths - 1] = new
        return view[: len(history)].flatten(2, 3)

    def select(self, positions: Tensor) -> None:
        if self._view is not None:
            move_rows(self._view, positions)

    def _with_room(self, num_known: int, new: Tensor) -> Tensor:
        """Returns the values with just as many times as the history has room for.

        Args:
            num_known: Sentences whose values are kept.
            new: Values to be written.
        """
        old, history = self._view, self._history
        num_sentences, room = len(history), history.room
        if num_known and old is not None and old.size(0) >= num_sentences and old.size(2) == room:
            return old
        shape = (num_sentences, new.size(1), room, history.width, new.size(3))
        size = math.prod(shape)
        self._pages = history.exchange(self._pages, size, new)
        self._view = view = self._pages[:size].view(shape)
        # Finite from the start: hidden values are multiplied by zero, not left out.
        if num_known and old is not None:
            view[:num_known, :, : old.size(2)] = old[:num_known]
            view[:num_known, :, old.size(2) :] = 0.0
            view[num_known:] = 0.0
        else:
            view.zero_()
        return view


def with_room(tensor: Tensor, shape: tuple[int, ...], fill: float) -> Tensor:
    """Returns the tensor, or a larger one that begins with it if it is smaller than the shape.

    A dimension that is too small is doubled at least, so that growing costs little in the end.
    """
    old = tuple(tensor.shape)
    if all(has >= needs for has, needs in zip(old, shape, strict=True)):
        return tensor
    new = [
        has if has >= needs else max(needs, 2 * has) for has, needs in zip(old, shape, strict=True)
    ]
    larger = tensor.new_full(new, fill)
    larger[tuple(slice(0, size) for size in old)] = tensor
    return larger


def move_rows(tensor: Tensor, positions: Tensor) -> None:
    """Puts the rows at these positions first, in this order; copies only those that move."""
    places = torch.arange(positions.size(0), device=positions.device)
    moved = (positions != places).nonzero()[:, 0]
    if moved.numel():
        tensor[moved] = tensor[positions[moved]]
