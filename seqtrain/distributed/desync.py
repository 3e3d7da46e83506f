"""Checks that ranks which hold copies of something hold the same, bit by bit."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqtrain.distributed.blocks import block_of, local_part
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import DistributedError

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class Held:
    """What this rank holds of something, and perhaps other ranks too."""

    name: str
    """What it is, for people."""
    place: tuple[int, ...]
    """Where in it the part begins and its sizes; nothing if it is the whole."""
    checksum: Tensor
    """Of the part's bits, int64 scalar."""


def require_same_parameters(
    named_parameters: Iterable[tuple[str, nn.Parameter]], collectives: Collectives, num_updates: int
) -> None:
    """Compares a checksum of each parameter over ranks that keep copies of it, or of a part of it.

    Args:
        named_parameters: In the same order on every rank; perhaps spread over ranks.
        collectives: Connected to the other ranks; all call this together.
        num_updates: For the message.

    Raises:
        DistributedError: On every rank; names the first parameter that differs, and the ranks.
    """
    if collectives.world_size == 1:
        return
    held = [
        Held(f"the parameter {name}", _place(parameter), checksum(local_part(parameter)))
        for name, parameter in named_parameters
    ]
    require_same(held, collectives, num_updates)


def require_same(held: Sequence[Held], collectives: Collectives, num_updates: int) -> None:
    """Compares what ranks hold, in two collectives of numbers.

    Args:
        held: In the same order on every rank.
        collectives: Connected to the other ranks; all call this together.
        num_updates: For the message.

    Raises:
        DistributedError: On every rank; names the first thing that differs, and the ranks.
    """
    _require_same_names([one.name for one in held], collectives)
    if not held or collectives.world_size == 1:
        return
    checksums = torch.stack([one.checksum.to(collectives.device) for one in held])
    places = torch.tensor([_number(repr(one.place)) for one in held]).to(checksums)
    rows = collectives.gather_rows(torch.cat([places, checksums])).tolist()
    for index, one in enumerate(held):
        by_place: dict[int, dict[int, int]] = {}
        for rank, row in enumerate(rows):
            by_place.setdefault(row[index], {})[rank] = row[len(held) + index]
        for copies in by_place.values():
            _require_same_checksum(one.name, copies, num_updates)


def checksum(tensor: Tensor) -> Tensor:
    """Returns a sum of all bits that does not depend on the order of adding, int64 scalar."""
    values = tensor.detach().contiguous().reshape(-1)
    if values.is_complex():
        values = torch.view_as_real(values).reshape(-1)
    return values.view(_INTEGERS[values.element_size()]).sum(dtype=torch.int64)


def _require_same_names(names: list[str], collectives: Collectives) -> None:
    """Makes sure that rows of numbers mean the same and have one length."""
    header = torch.tensor([len(names), _number("\n".join(names))], device=collectives.device)
    if len(set(map(tuple, collectives.gather_rows(header).tolist()))) > 1:
        collectives.require_equal(names, "what there is to compare")


def _require_same_checksum(name: str, copies: dict[int, int], num_updates: int) -> None:
    found = list(copies.values())
    if len(set(found)) == 1:
        return
    usual = max(found, key=found.count)  # the first rank's, where no majority is
    odd = [str(rank) for rank, value in copies.items() if value != usual]
    others = " (or the others have)" if 2 * len(odd) >= len(copies) else ""
    raise DistributedError(
        f"After update {num_updates} {name} is not the same on all ranks: "
        f"rank {', '.join(odd)} has other bits{others}. Its machine may be faulty, or a "
        "plug-in draws or computes differently there. Continue from the last checkpoint."
    )


def _place(parameter: Tensor) -> tuple[int, ...]:
    block = block_of(parameter)
    return () if block is None else (*block.begin, *block.sizes)


def _number(text: str) -> int:
    return zlib.crc32(text.encode())
