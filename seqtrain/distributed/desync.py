"""Checks that all ranks hold the same parameters, bit by bit."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import DistributedError

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def require_same_parameters(
    named_parameters: Iterable[tuple[str, nn.Parameter]], collectives: Collectives, num_updates: int
) -> None:
    """Compares a checksum of each parameter over ranks, which keep copies of one model.

    Args:
        named_parameters: In the same order on every rank.
        collectives: Connected to the other ranks; all call this together.
        num_updates: For the message.

    Raises:
        DistributedError: On every rank; names the first parameter that differs, and the ranks.
    """
    if collectives.world_size == 1:
        return
    named = list(named_parameters)
    sums = torch.stack([_checksum(parameter) for _, parameter in named]).tolist()
    by_rank = collectives.gather_json(sums)
    for index, (name, _) in enumerate(named):
        values = [rank_sums[index] for rank_sums in by_rank]
        if len(set(values)) > 1:
            usual = max(values, key=values.count)  # the first rank's, where no majority is
            odd = [str(rank) for rank, value in enumerate(values) if value != usual]
            others = " (or the others have)" if 2 * len(odd) >= len(values) else ""
            raise DistributedError(
                f"After update {num_updates} the parameter {name} is not the same on all ranks: "
                f"rank {', '.join(odd)} has other bits{others}. Its machine may be faulty, or a "
                "plug-in draws or computes differently there. Continue from the last checkpoint."
            )


def _checksum(parameter: Tensor) -> Tensor:
    """Returns a sum of all bits that does not depend on the order of adding, int64 scalar."""
    values = parameter.detach().contiguous().reshape(-1)
    if values.is_complex():
        values = torch.view_as_real(values).reshape(-1)
    return values.view(_INTEGERS[values.element_size()]).sum(dtype=torch.int64)
