"""Checks that all ranks hold the same parameters, bit by bit."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seqtrain.distributed.blocks import block_of, local_part
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import DistributedError

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


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
    named = list(named_parameters)
    sums = torch.stack([_checksum(local_part(parameter)) for _, parameter in named]).tolist()
    places = [_place(parameter) for _, parameter in named]
    by_rank = collectives.gather_json([sums, places])
    for index, (name, _) in enumerate(named):
        values = {rank: rank_sums[index] for rank, (rank_sums, _) in enumerate(by_rank)}
        for copies in _by_place(values, [rank_places[index] for _, rank_places in by_rank]):
            found = list(copies.values())
            if len(set(found)) == 1:
                continue
            usual = max(found, key=found.count)  # the first rank's, where no majority is
            odd = [str(rank) for rank, value in copies.items() if value != usual]
            others = " (or the others have)" if 2 * len(odd) >= len(copies) else ""
            raise DistributedError(
                f"After update {num_updates} the parameter {name} is not the same on all ranks: "
                f"rank {', '.join(odd)} has other bits{others}. Its machine may be faulty, or a "
                "plug-in draws or computes differently there. Continue from the last checkpoint."
            )


def _place(parameter: Tensor) -> list[int]:
    """Returns where this rank's part of a parameter begins; nothing if it is the whole."""
    block = block_of(parameter)
    return [] if block is None else list(block.begin)


def _by_place(values: dict[int, int], places: list[list[int]]) -> list[dict[int, int]]:
    """Returns {rank: value} of the ranks that hold the same part, for each part."""
    found: dict[tuple[int, ...], dict[int, int]] = {}
    for rank, value in values.items():
        found.setdefault(tuple(places[rank]), {})[rank] = value
    return list(found.values())


def _checksum(parameter: Tensor) -> Tensor:
    """Returns a sum of all bits that does not depend on the order of adding, int64 scalar."""
    values = parameter.detach().contiguous().reshape(-1)
    if values.is_complex():
        values = torch.view_as_real(values).reshape(-1)
    return values.view(_INTEGERS[values.element_size()]).sum(dtype=torch.int64)
