"""The norm of a gradient whose parts lie on several ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqtrain.distributed.blocks import is_spread
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.division import divide_by_size


def norm_as_if_whole(
    collectives: Collectives, pairs: Sequence[tuple[nn.Parameter, Tensor]]
) -> Tensor:
    """Returns the 2-norm to the bit as one process would, which has whole gradients.

    A sum of squares depends on its grouping. So each rank gets some gradients whole and takes their
    norms; it sends and receives a rank's share of all gradients, once.

    Args:
        collectives: Of the ranks that parameters are divided among, along their first dimension.
        pairs: Parameters and this rank's parts of their gradients, of one dtype.
    """
    size = collectives.world_size
    owners = divide_by_size([p.numel() for p, _ in pairs], size)
    lengths = [_lengths(parameter, size) for parameter, _ in pairs]
    rows = _rows(pairs, owners, lengths, size)
    received = collectives.exchange_rows(rows)
    norms = rows.new_zeros(len(pairs))
    begins = [0] * size
    for index, (parameter, part) in enumerate(pairs):
        if owners[index] != collectives.rank:
            continue
        whole = part
        if is_spread(parameter):
            ends = [begin + length for begin, length in zip(begins, lengths[index], strict=True)]
            parts = [row[b:e] for row, b, e in zip(received, begins, ends, strict=True)]
            whole, begins = torch.cat(parts).view(parameter.shape), ends
        norms[index] = torch._foreach_norm([whole])[0]
    # Each norm is one rank's and zero on the others, so that this adds nothing.
    return torch.linalg.vector_norm(collectives.all_reduce_sum(norms))


def _rows(
    pairs: Sequence[tuple[nn.Parameter, Tensor]],
    owners: Sequence[int],
    lengths: Sequence[Sequence[int]],
    size: int,
) -> Tensor:
    """Returns this rank's parts for each owner, end to end, [size, longest]."""
    sums = [[0] * size for _ in range(size)]
    parts_for: list[list[Tensor]] = [[] for _ in range(size)]
    for (_, part), owner, by_rank in zip(pairs, owners, lengths, strict=True):
        for rank, length in enumerate(by_rank):
            sums[owner][rank] += length
        if any(by_rank):
            parts_for[owner].append(part.reshape(-1))
    rows = pairs[0][1].new_zeros(size, max(max(row) for row in sums))
    for row, parts in zip(rows, parts_for, strict=True):
        if parts:
            torch.cat(parts, out=row[: sum(part.numel() for part in parts)])
    return rows


def norm_by_squares(
    collectives: Collectives, pairs: Sequence[tuple[nn.Parameter, Tensor]]
) -> Tensor:
    """Returns the 2-norm from sums of squares in float64, for parts of any form.

    Args:
        collectives: Of all ranks.
        pairs: Parameters and this rank's parts of their gradients, each part on as many ranks.
    """
    total = torch.zeros((), dtype=torch.float64, device=pairs[0][1].device)
    for parameter, part in pairs:
        total += part.double().square().sum() / _holders(parameter, collectives.world_size)
    return collectives.all_reduce_sum(total).sqrt().to(pairs[0][1].dtype)


def _lengths(parameter: nn.Parameter, size: int) -> list[int]:
    """Returns how many values each rank has for others, as torch.chunk divides the rows."""
    if not is_spread(parameter):
        return [0] * size
    rows = parameter.size(0)
    width = -(-rows // size)
    row_length = parameter.numel() // rows
    return [max(0, min(width, rows - rank * width)) * row_length for rank in range(size)]


def _holders(parameter: nn.Parameter, world_size: int) -> int:
    """Returns on how many ranks each value of a parameter is."""
    if not is_spread(parameter):
        return world_size
    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined] # of DTensors
    splits = 1
    for mesh_dim, placement in enumerate(placements):
        splits *= mesh.size(mesh_dim) if hasattr(placement, "dim") else 1
    return world_size // splits
