"""Model and criterion whose parameters lie on several ranks: FSDP, tensor parallelism, or both."""

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch

from seqtrain.distributed.blocks import is_spread
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.desync import require_same_parameters
from seqtrain.distributed.parallelize import require_same_layout
from seqtrain.distributed.spread_norm import norm_as_if_whole, norm_by_squares
from seqtrain.distributed.strategy_config import StrategyConfig
from seqtrain.distributed.whole_copy import WholeCopy
from seqtrain.errors import ConfigError
from seqtrain.optim.spread_optimizer import AddUp, Norm, Pairs, sum_flat
from seqtrain.training.loss_module import LossModule


@dataclass(frozen=True, kw_only=True)
class SpreadModule:
    """A loss module that all ranks run together, and what its users have to know of it."""

    module: LossModule
    whole: WholeCopy[LossModule]
    """Of the module, for all that a rank does by itself."""
    norm: Norm
    """Of a gradient, over all ranks."""
    add_up: AddUp
    """Completes gradients after the last backward pass."""
    tensor_parallel: int
    """Ranks that get the same micro-batches."""
    writes_pieces: bool
    """Whether this rank's parts go into a checkpoint."""
    writes_copies: bool
    """Whether some of them are parts that other ranks write too: the same ones, or none is read."""


@dataclass(frozen=True)
class DataRank:
    """Which of how many shares of the micro-batches a rank gets."""

    rank: int
    world_size: int


def data_rank(config: StrategyConfig, collectives: Collectives) -> DataRank:
    """Returns a rank's share of the data: ranks of one tensor-parallel group have the same.

    Raises:
        ConfigError: The ranks cannot be divided into groups of that size.
    """
    size, world_size = config.tensor_parallel, collectives.world_size
    if world_size % size:
        raise ConfigError(
            f"distributed.tensor_parallel ({size}) must divide the number of processes "
            f"({world_size})."
        )
    return DataRank(collectives.rank // size, world_size // size)


def spread_over_ranks(
    module: LossModule, settings: StrategyConfig, collectives: Collectives, device: torch.device
) -> SpreadModule | None:
    """Divides the parameters of a loss module among ranks, if the config says so.

    Args:
        module: Whole and the same on every rank, on its device.
        settings: The run's.
        collectives: Connected to the other ranks.
        device: Of the module.

    Returns:
        None where each rank keeps the whole module.

    Raises:
        ConfigError: The model or the device does not go with that.
    """
    if collectives.is_alone or not settings.is_spread:
        return None
    named = list(module.named_parameters())
    require_same_layout(module, collectives)
    require_same_parameters(named, collectives, num_updates=0)
    whole = WholeCopy(module)
    # Imported now: torch's distributed tensors take half a second, which other runs need not pay.
    meshes = import_module("seqtrain.distributed.meshes").Meshes(
        device.type, collectives, settings.tensor_parallel
    )
    if settings.tensor_parallel > 1:
        plan = module.model.tensor_parallel_plan(settings.tensor_parallel)
        split = import_module("seqtrain.distributed.tensor_parallel").split_layers
        split(module.model, plan, meshes.tensor)
    if settings.strategy == "fsdp":
        shard = import_module("seqtrain.distributed.fsdp").shard_fully
        shard(module, module.model.layers_to_shard(), meshes.data, settings)
    is_divided_once = settings.tensor_parallel == 1
    norm = norm_as_if_whole if is_divided_once else norm_by_squares
    return SpreadModule(
        module=module,
        whole=whole,
        norm=partial(norm, collectives),
        add_up=_sum_over_data(meshes, of_parts=settings.strategy == "ddp"),
        tensor_parallel=settings.tensor_parallel,
        writes_pieces=settings.strategy == "fsdp" or data_rank(settings, collectives).rank == 0,
        writes_copies=settings.strategy == "fsdp" and settings.tensor_parallel > 1,
    )


def _sum_over_data(meshes: Any, of_parts: bool) -> AddUp:
    """Returns what sums the gradients of whole parameters, and of parts where asked for."""

    def add_up(pairs: Pairs) -> None:
        if gradients := [g for parameter, g in pairs if of_parts or not is_spread(parameter)]:
            sum_flat(gradients, meshes.sum_over_data)

    return add_up
