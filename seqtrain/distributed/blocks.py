"""Where a rank's part of a tensor lies, if the tensor lies on several ranks.

Such tensors are torch's DTensors. Nothing of torch that makes them is imported here, as that takes
as long as the start of a small run: only runs that need it pay.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Block:
    """A contiguous block of a tensor."""

    shape: tuple[int, ...]
    """Of the whole tensor."""
    begin: tuple[int, ...]
    """Where in it the block begins."""
    sizes: tuple[int, ...]
    """Of the block."""
    count: int = 1
    """Blocks that the tensor is divided into; each is on as many ranks."""

    def of(self, whole: Tensor) -> Tensor:
        """Returns the block of a whole tensor, sharing its memory."""
        places = zip(self.begin, self.sizes, strict=True)
        return whole[tuple(slice(begin, begin + size) for begin, size in places)]


def is_spread(tensor: Tensor) -> bool:
    """Says whether a tensor lies on several ranks."""
    return hasattr(tensor, "device_mesh")


def local_part(tensor: Tensor) -> Tensor:
    """Returns what this rank holds of a tensor, sharing its memory, without a gradient."""
    if not is_spread(tensor):
        return tensor.detach()
    with torch.no_grad():
        part: Tensor = tensor.to_local()  # type: ignore[attr-defined] # of DTensors
    return part.detach()


def block_of(tensor: Tensor) -> Block | None:
    """Returns where this rank's part of a tensor lies; None if the rank holds all of it."""
    splits = _splits(tensor) if is_spread(tensor) else []
    if not splits:
        return None
    begin, sizes, blocks = [0] * tensor.dim(), list(tensor.shape), 1
    for mesh_dim, dim in splits:
        count = tensor.device_mesh.size(mesh_dim)  # type: ignore[attr-defined] # of DTensors
        index = tensor.device_mesh.get_local_rank(mesh_dim)  # type: ignore[attr-defined] # see above
        width = -(-sizes[dim] // count)  # as torch.chunk divides
        first = min(index * width, sizes[dim])
        blocks *= count
        begin[dim] += first
        sizes[dim] = min(width, sizes[dim] - first)
    return Block(tuple(tensor.shape), tuple(begin), tuple(sizes), blocks)


def whole_of(tensor: Tensor, part: Tensor) -> Tensor:
    """Returns a whole tensor on every rank; all ranks that hold a part call this together.

    Args:
        tensor: Says how it is spread.
        part: What this rank has in the place of its own part; perhaps in another dtype.
    """
    if not is_spread(tensor):
        return part
    kind: Any = type(tensor)
    where: Any = tensor
    spread = kind.from_local(
        part.to(where.device_mesh.device_type),
        where.device_mesh,
        where.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )
    whole: Tensor = spread.full_tensor()
    return whole


def local_parameter(parameter: nn.Parameter) -> nn.Parameter:
    """Returns a parameter that is this rank's part of another, sharing its memory."""
    if not is_spread(parameter):
        return parameter
    return nn.Parameter(local_part(parameter), parameter.requires_grad)


def _splits(tensor: Any) -> list[tuple[int, int]]:
    """Returns which dimension of the mesh splits which of the tensor, the coarsest split first."""
    splits = [
        (mesh_dim, placement.dim)
        for mesh_dim, placement in enumerate(tensor.placements)
        if hasattr(placement, "dim")
    ]
    # Where FSDP splits what tensor parallelism has split already, its dimension of the mesh is the
    # first one, and its split the finer one: torch calls the placement strided.
    is_finer = {
        mesh_dim: hasattr(placement, "split_factor")
        for mesh_dim, placement in enumerate(tensor.placements)
    }
    return sorted(splits, key=lambda split: is_finer[split[0]])
