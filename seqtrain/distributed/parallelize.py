"""Data parallelism: copies of a module whose gradients are averaged over ranks."""

import inspect
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig


def wrap_data_parallel(
    module: nn.Module, collectives: Collectives, config: DistributedConfig
) -> nn.Module:
    """Returns the module, wrapped if there are several ranks.

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
    if collectives.world_size == 1:
        return module
    layout = {
        name: [list(parameter.shape), str(parameter.dtype), parameter.requires_grad]
        for name, parameter in module.named_parameters()
    }
    collectives.require_equal(layout, "the model's parameters (shape, dtype, trained)")
    return DistributedDataParallel(
        module,
        bucket_cap_mb=config.bucket_cap_mb,
        gradient_as_bucket_view=True,
        **_without_buffer_broadcasts(),
    )


def gradient_sync(module: nn.Module, enabled: bool) -> AbstractContextManager[None]:
    """Returns a context for a micro-batch's forward *and* backward pass.

    Args:
        module: What `wrap_data_parallel` returned.
        enabled: True for the last micro-batch of an update: its backward pass averages over ranks
            all that was accumulated. False: gradients stay local.
    """
    if isinstance(module, DistributedDataParallel) and not enabled:
        return module.no_sync()
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
    trained = [parameter for parameter in parameters if parameter.requires_grad]
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
