"""Fully sharded data parallelism: torch's FSDP2, with gradients that are sums over ranks.

Imported only by runs that use it: torch's distributed tensors take long to import.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
)

from seqtrain.distributed.blocks import is_spread
from seqtrain.distributed.strategy_config import StrategyConfig
from seqtrain.errors import ConfigError


def shard_fully(
    root: nn.Module, layers: Sequence[nn.Module], mesh: DeviceMesh, config: StrategyConfig
) -> None:
    """Divides the parameters of a module among the ranks of a mesh, each along its first dimension.

    Its backward pass gives this rank's part of the gradient, summed over ranks. All ranks run the
    module, and each of its layers, in step. Scalars and parameters without values stay whole, and
    their gradients a rank's own.

    Args:
        root: Whole on every rank, on its device.
        layers: Submodules whose parameters are gathered just before they run; the others' are
            gathered together, when the root runs.
        mesh: One-dimensional.
        config: The run's settings.

    Raises:
        ConfigError: The settings do not fit the device.
    """
    if config.cpu_offload and mesh.device_type == "cpu":
        raise ConfigError(
            "distributed.cpu_offload=true needs a GPU: on a CPU there is nowhere else to put "
            "parameters. Leave it out."
        )
    # A layer of attention returns its keys and values, which are views. Nobody writes into them.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    shared: dict[str, Any] = {"mesh": mesh}
    if config.cpu_offload:
        shared["offload_policy"] = CPUOffloadPolicy()
    for layer in layers:
        options = shared | {"reshard_after_forward": config.reshard_after_forward}
        if config.gather_dtype == "bf16":
            fully_shard(_with_matrices(layer), **options, mp_policy=_IN_BF16)
        fully_shard(layer, **options)
    # Its own parameters are needed again at once, so that torch keeps them after the forward pass.
    fully_shard(root, **shared, ignored_params=_indivisible(root))
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot divide on the way
    as_root: Any = root
    as_root.set_reduce_scatter_unused_params(True)


_IN_BF16 = MixedPrecisionPolicy(
    param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
)


def _indivisible(root: nn.Module) -> set[nn.Parameter]:
    return {p for p in root.parameters() if not is_spread(p) and not (p.dim() and p.numel())}


def _with_matrices(layer: nn.Module) -> Any:
    """Returns the submodules whose parameters may be bfloat16 under autocast: not the norms."""
    found = [
        module
        for module in layer.modules()
        if any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
    ]
    return found if len(found) > 1 else found[0]
