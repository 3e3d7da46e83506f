"""Gradients added in the same order on any number of ranks: a tree over the micro-batches.

A sum of floating-point numbers depends on how its terms are grouped. Micro-batch i of an update is
leaf i of a binary tree here, whose shape follows from the number of micro-batches alone. A rank
that holds a power of two of them holds a whole subtree, so the split over ranks changes no bit.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.desync import require_same_parameters
from seqtrain.errors import ConfigError


class TreeSum:
    """Adds lists of tensors pairwise: (0 + 1) + (2 + 3), and so on.

    The left list of a pair is overwritten by the sum. At most log2(n) + 1 lists are held.
    """

    def __init__(self) -> None:
        self._sums: list[tuple[int, list[Tensor]]] = []  # (height, sum of 2 ** height leaves)

    def add(self, leaf: list[Tensor]) -> None:
        """Takes the next leaf."""
        height = 0
        while self._sums and self._sums[-1][0] == height:
            _, left = self._sums.pop()
            torch._foreach_add_(left, leaf)
            leaf, height = left, height + 1
        self._sums.append((height, leaf))

    def finish(self) -> list[Tensor] | None:
        """Returns the sum of all leaves, and forgets them; None if there were none."""
        total: list[Tensor] | None = None
        while self._sums:
            _, left = self._sums.pop()
            if total is not None:
                torch._foreach_add_(left, total)
            total = left
        return total


class ReductionTree:
    """Takes a rank's gradients after each backward pass; gives the sum over all micro-batches.

    Each rank adds one part of every bucket for all: it sends and receives 2 (world_size - 1) /
    world_size times the bytes of the gradients, the least that any way to add them up needs.

    Args:
        named_parameters: Of the module, the same on every rank.
        collectives: Connected to the other ranks.
        num_micro_batches: In an update, over all ranks.
        share: Micro-batches that a rank holds; with several ranks a power of two. Those of the
            last ranks that are none of the update's are left out.
        bucket_bytes: Gradients that are exchanged at a time.

    Raises:
        DistributedError: The ranks have built different models.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        collectives: Collectives,
        num_micro_batches: int,
        share: int,
        bucket_bytes: int = 25 * 2**20,
    ) -> None:
        named = {name: p for name, p in named_parameters if p.requires_grad}
        layout = {name: [list(p.shape), str(p.dtype)] for name, p in named.items()}
        collectives.require_equal(layout, "the model's parameters (shape, dtype)")
        require_same_parameters(named.items(), collectives, num_updates=0)
        self._named = named
        self._collectives = collectives
        self._num_rows = -(-num_micro_batches // share)  # ranks that have any
        self._share = share
        first = collectives.rank * share
        self._num_leaves = max(0, min(share, num_micro_batches - first))
        self._buckets = _buckets(list(named.values()), bucket_bytes)
        self._start()

    def take(self) -> None:
        """Takes the gradients of the micro-batch whose backward pass has just run."""
        if self._num_taken == self._share:
            raise ValueError(f"There are more than the {self._share} micro-batches of a rank.")
        self._num_taken += 1
        leaf = [_taken(name, parameter) for name, parameter in self._named.items()]
        if self._num_taken <= self._num_leaves:
            self._own.add(leaf)

    def finish(self) -> None:
        """Makes every parameter's gradient the sum over all micro-batches of all ranks."""
        sums = self._own.finish()
        if sums is None:  # a rank without micro-batches
            sums = [torch.zeros_like(parameter) for parameter in self._named.values()]
        if self._collectives.world_size > 1:
            for bucket in self._buckets:
                self._add_over_ranks([sums[index] for index in bucket])
        for parameter, total in zip(self._named.values(), sums, strict=True):
            parameter.grad = total
        self._start()

    def _start(self) -> None:
        self._own = TreeSum()
        self._num_taken = 0

    def _add_over_ranks(self, sums: Sequence[Tensor]) -> None:
        """Replaces tensors by their sums over ranks."""
        world_size = self._collectives.world_size
        flat = torch.cat([tensor.reshape(-1) for tensor in sums])
        length = flat.numel()
        width = -(-length // world_size)
        rows = torch.nn.functional.pad(flat, (0, width * world_size - length))
        rows = self._collectives.exchange_rows(rows.view(world_size, width))
        tree = TreeSum()
        for row in rows[: self._num_rows]:
            tree.add([row])
        total = tree.finish()
        flat = self._collectives.gather_rows(total[0] if total else rows[0]).view(-1)[:length]
        for tensor, part in zip(sums, flat.split([t.numel() for t in sums]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def _taken(name: str, parameter: nn.Parameter) -> Tensor:
    """Returns a parameter's gradient, zero where it was not used, and leaves none behind."""
    gradient, parameter.grad = parameter.grad, None
    if gradient is None:
        return torch.zeros_like(parameter)
    if gradient.is_sparse:
        raise ConfigError(
            f"The gradient of {name} is sparse, and distributed.deterministic_elastic=true adds up "
            "dense ones. Set it to false."
        )
    return gradient


def _buckets(parameters: Sequence[Tensor], bucket_bytes: int) -> list[list[int]]:
    """Returns groups of indices of parameters of one dtype and device, in order."""
    buckets: list[list[int]] = []
    sizes: dict[tuple[torch.dtype, torch.device], tuple[list[int], int]] = {}
    for index, parameter in enumerate(parameters):
        key = (parameter.dtype, parameter.device)
        size = parameter.numel() * parameter.element_size()
        bucket, filled = sizes.get(key, ([], bucket_bytes))
        if filled + size > bucket_bytes or not bucket:
            bucket, filled = [], 0
            buckets.append(bucket)
        bucket.append(index)
        sizes[key] = bucket, filled + size
    return buckets
