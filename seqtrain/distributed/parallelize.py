"""Data parallelism: copies of a module whose gradients are averaged over ranks."""

import inspect
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seqtrain.distributed.blocks import is_spread
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig
from seqtrain.distributed.gradient_compression import average_in_bf16


def wrap_data_parallel(
    module: nn.Module, collectives: Collectives, config: DistributedConfig
) -> nn.Module:
    """Returns the module, wrapped unless this process is alone.

    The wrapper copies rank 0's parameters and buffers to all ranks now, and *averages* gradients
    over ranks in the backward pass. Whoever wants the mean over all targets of summed losses
    multiplies them by world_size / num_targets afterwards.

    Args:
        module: On its device already. Its loss reaches all parameters that need a gradient (see
            `reaching_all`).
        collectives: Connected to the other ranks.
        config: The run's section.

    Raises:
        DistributedError: The ranks have built different models.
    """
    if collectives.is_alone:
        return module
    require_same_layout(module, collectives)
    wrapped = DistributedDataParallel(
        module,
        bucket_cap_mb=config.bucket_cap_mb,
        gradient_as_bucket_view=True,
        static_graph=config.static_graph,
        **_without_buffer_broadcasts(),
    )
    if config.compress_gradients:
        wrapped.register_comm_hook(collectives, average_in_bf16)
    return wrapped


def require_same_layout(module: nn.Module, collectives: Collectives) -> None:
    """Raises DistributedError if the ranks have built different models."""
    layout = {
        name: [list(parameter.shape), str(parameter.dtype), parameter.requires_grad]
        for name, parameter in module.named_parameters()
    }
    collectives.require_equal(layout, "the model's parameters (shape, dtype, trained)")


def gradient_sync(module: nn.Module, enabled: bool) -> AbstractContextManager[None]:
    """Returns a context for a micro-batch's forward *and* backward pass.

    Args:
        module: What `wrap_data_parallel` returned, or one that FSDP has divided.
        enabled: True for the last micro-batch of an update: its backward pass averages over ranks
            all that was accumulated. False: gradients stay local.
    """
    if isinstance(module, DistributedDataParallel) and not enabled:
        return module.no_sync()
    if (set_sync := getattr(module, "set_requires_gradient_sync", None)) is not None:
        set_sync(enabled)  # of FSDP, whose module need not be imported for this
    return nullcontext()


def reaching_all(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Returns the loss with an edge of the graph to every parameter.

    The wrapper waits until the backward pass has come by every parameter; one that the loss does
    not depend on would make it wait for ever, or mix up the sums of different ranks. The edges
    carry no gradient and cost no memory: such a parameter is ready at once, with the gradient zero.

    Args:
        loss: A scalar.
        parameters: All parameters; those that need no gradient are passed over.
    """
    # One that is spread over ranks now belongs to a layer, whose passes are in step anyway.
    trained = [p for p in parameters if p.requires_grad and not is_spread(p)]
    reached: Tensor = _Reach.apply(loss, *trained)  # type: ignore[no-untyped-call] # torch leaves it untyped
    return reached


class _Reach(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss: Tensor, *parameters: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # the type of ctx is private to torch
        ctx.num_parameters = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx, of_loss: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def] # see above
        return (of_loss, *([None] * ctx.num_parameters))


def _without_buffer_broadcasts() -> dict[str, Any]:
    """Newer torch has another name for it, and warns of the one that older torch knows."""
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return {name: False}
