"""Tensor parallelism: the matrix products of a layer divided among ranks (Shoeybi et al. 2019).

Imported only by runs that use it: torch's distributed tensors take long to import.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn import functional as F

from seqtrain.distributed.blocks import block_of
from seqtrain.errors import ConfigError

KINDS = {
    "outputs": "a linear layer; each rank computes some of the outputs, and keeps them",
    "inputs": "a linear layer behind one of `outputs`; the ranks' products are added up",
    "symbols": "an embedding with the attribute `lookup`; each rank has some of the rows",
    "logits": "a linear layer; each rank computes some of the outputs, and gets the others",
}
"""How a submodule is divided."""


def split_layers(model: nn.Module, plan: Mapping[str, str], mesh: DeviceMesh) -> None:
    """Divides the weights of a model's layers among the ranks of a mesh.

    The ranks then run the model together, on the same inputs, and get the same outputs. Weights
    that were tied still are.

    Args:
        model: Whole and the same on every rank.
        plan: {name of a submodule: one of KINDS}.
        mesh: One-dimensional.

    Raises:
        ConfigError: The model has no plan, or too few symbols for so many ranks.
    """
    if not plan:
        raise ConfigError(
            f"distributed.tensor_parallel={mesh.size()}: {type(model).__name__} does not say how "
            "its layers are divided. Leave it out, or use strategy=fsdp."
        )
    tied: dict[nn.Parameter, nn.Parameter] = {}
    done: set[nn.Module] = set()
    for name, kind in plan.items():
        module = model.get_submodule(name)
        if module in done:  # under two names
            continue
        done.add(module)
        whole = module.get_parameter("weight")
        if kind == "symbols":
            _split_embedding(name, module, mesh)
        else:
            parallelize_module(module, mesh, _style(kind))
        if kind == "outputs":
            module.register_forward_hook(_own_memory)
        if whole in tied:
            module.register_parameter("weight", tied[whole])
        tied[whole] = module.get_parameter("weight")


def _style(kind: str) -> ParallelStyle:
    if kind == "outputs":
        return ColwiseParallel()
    if kind == "inputs":
        return RowwiseParallel()
    return ColwiseParallel(output_layouts=Replicate())


def _own_memory(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """Copies what is a view of a distributed tensor: an activation may want to overwrite it."""
    return output.clone()


def _split_embedding(name: str, module: nn.Module, mesh: DeviceMesh) -> None:
    whole = module.get_parameter("weight")
    width = -(-whole.size(0) // mesh.size())
    if width * (mesh.size() - 1) >= whole.size(0):
        raise ConfigError(
            f"distributed.tensor_parallel={mesh.size()} leaves a process without any of the "
            f"{whole.size(0)} symbols of {name}. Use fewer."
        )
    weight = distribute_tensor(whole.detach(), mesh, [Shard(0)])
    module.register_parameter("weight", nn.Parameter(weight, whole.requires_grad))
    setattr(module, "lookup", _lookup)  # noqa: B010 # nn.Module knows no such attribute


def _lookup(tokens: Tensor, weight: DTensor, padding_index: int) -> Tensor:
    """Returns rows of a weight that is divided by rows; what F.embedding does for a whole one."""
    block = block_of(weight)
    first = block.begin[0] if block is not None else 0
    rows = weight.to_local()
    is_here = (tokens >= first) & (tokens < first + rows.size(0))
    has_padding = first <= padding_index < first + rows.size(0)
    vectors = F.embedding(
        (tokens - first).where(is_here, 0), rows, padding_index - first if has_padding else None
    )
    here = DTensor.from_local(
        vectors * is_here.unsqueeze(-1), weight.device_mesh, [Partial()], run_check=False
    )
    found: Tensor = here.redistribute(placements=[Replicate()]).to_local()
    return found
