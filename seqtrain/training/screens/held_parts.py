"""Which part of each parameter a process will hold, told before anything is divided."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from seqtrain.criteria.base import Criterion
from seqtrain.distributed.division import divide_by_size
from seqtrain.distributed.strategy_config import StrategyConfig
from seqtrain.models.base import Model

Shape = tuple[int, ...]

_SPLIT_DIMS = {
    "outputs": {"weight": 0, "bias": 0},
    "inputs": {"weight": 1},
    "symbols": {"weight": 0},
    "logits": {"weight": 0, "bias": 0},
}
"""By kind of a layer in a model's plan for tensor parallelism."""


@dataclass(frozen=True)
class Place:
    """One process of several."""

    rank: int = 0
    world_size: int = 1


def held_shapes(
    model: Model, criterion: Criterion, settings: StrategyConfig, place: Place
) -> dict[nn.Parameter, Shape]:
    """Returns the shape of what a process holds of each parameter.

    Args:
        model: Whole; without values will do.
        criterion: Trained with it.
        settings: The run's.
        place: The process.

    Raises:
        ConfigError: The model's layers cannot be shared by so many.
    """
    parameters = [*model.parameters(), *criterion.parameters()]
    shapes = {parameter: tuple(parameter.shape) for parameter in parameters}
    shared_by = settings.tensor_parallel
    if shared_by > 1:
        for name, kind in model.tensor_parallel_plan(shared_by).items():
            for part, parameter in model.get_submodule(name).named_parameters(recurse=False):
                if (dim := _SPLIT_DIMS[kind].get(part)) is not None:
                    whole = tuple(parameter.shape)  # a tied one comes twice
                    shapes[parameter] = part_shape(whole, dim, place.rank % shared_by, shared_by)
    if settings.strategy == "fsdp":
        index, count = place.rank // shared_by, max(1, place.world_size // shared_by)
        for parameter, shape in shapes.items():
            if shape and parameter.numel():
                shapes[parameter] = part_shape(shape, 0, index, count)
    return shapes


def part_shape(shape: Shape, dim: int, index: int, count: int) -> Shape:
    """Returns the shape of part `index` of `count`, as torch.chunk divides a dimension."""
    width = -(-shape[dim] // count)
    size = max(0, min(width, shape[dim] - index * width))
    return (*shape[:dim], size, *shape[dim + 1 :])


def updated_here(
    parameters: Sequence[nn.Parameter], settings: StrategyConfig, place: Place
) -> list[nn.Parameter]:
    """Returns the parameters whose optimizer's state a process holds: with ZeRO-1 not of all.

    Args:
        parameters: Those that are trained, in the optimizer's order.
        settings: The run's.
        place: The process.
    """
    if not settings.shard_optimizer:
        return list(parameters)
    owners = divide_by_size([p.numel() for p in parameters], place.world_size)
    return [p for p, owner in zip(parameters, owners, strict=True) if owner == place.rank]
