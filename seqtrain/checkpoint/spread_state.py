"""State dicts of modules whose parameters may lie on several ranks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.checkpoint.pieces import Piece
from seqtrain.distributed.blocks import block_of, is_spread, local_part


def state_of(module: nn.Module) -> dict[str, Any]:
    """Returns a module's state dict for a checkpoint, of spread tensors this rank's pieces."""
    state = module.state_dict(keep_vars=True)
    if not any(is_spread(tensor) for tensor in state.values()):
        return module.state_dict()
    return {name: leaf_of(tensor, local_part(tensor)) for name, tensor in state.items()}


def leaf_of(tensor: Tensor, part: Tensor) -> Tensor | Piece:
    """Returns what a checkpoint holds of a tensor.

    Args:
        tensor: Says how it is spread.
        part: This rank's values: of the tensor itself, or others in its place.
    """
    block = block_of(tensor)
    return part if block is None else Piece(part, block.shape, block.begin, block.count)


def part_of(tensor: Tensor, whole: Tensor) -> Tensor:
    """Returns this rank's part of a whole tensor that takes the place of another one."""
    block = block_of(tensor)
    return whole if block is None else block.of(whole)


@torch.no_grad()
def load_state(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Takes whole tensors into a module; names and shapes were compared before."""
    own = module.state_dict(keep_vars=True)
    if not any(is_spread(tensor) for tensor in own.values()):
        module.load_state_dict(state)
        return
    for name, tensor in own.items():
        local_part(tensor).copy_(part_of(tensor, state[name]))
