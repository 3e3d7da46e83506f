"""Finds out what went wrong in an update: the batch, and where the first number was not finite."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seqtrain import rng
from seqtrain.batch import Batch
from seqtrain.models.base import ModelOutput
from seqtrain.optim.precision import Precision

_MAX_IDS = 10


def describe_batch(batch: Batch) -> str:
    """Returns a batch's examples and shapes in words."""
    ids = batch.ids.tolist()
    shown = ", ".join(map(str, ids[:_MAX_IDS]))
    more = f" and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else ""
    shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in batch.inputs.items())
    return f"batch of examples {shown or 'none'}{more} ({shapes})"


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an error means that memory was asked for and not given."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "out of memory" in text
    )


def find_non_finite(
    loss_module: nn.Module,
    precision: Precision,
    micro_batches: Sequence[Batch],
    update_key: tuple[int, int, int],
) -> list[str]:
    """Repeats the forward and backward passes of an update, and says where they go wrong.

    Gradients, parameters and the other ranks are not touched.

    Args:
        loss_module: The model and the criterion together, not wrapped for data parallelism.
        precision: As the update had it.
        micro_batches: The update's, on the device.
        update_key: Seed of the run, updates before this one, index of the first micro-batch: what
            the randomness of the update was keyed by.

    Returns:
        A line for each micro-batch with a number that is not finite.
    """
    seed, num_updates, first_index = update_key
    lines = []
    for index, batch in enumerate(micro_batches):
        rng.seed(seed, "update", num_updates, first_index + index)
        place = _first_place(loss_module, precision, batch)
        if place:
            lines.append(f"{describe_batch(batch)}: {place}")
    return lines


def _first_place(loss_module: nn.Module, precision: Precision, batch: Batch) -> str:
    with _watched(loss_module) as found, precision.autocast():
        loss = loss_module(batch)
    if found:
        return f"first in the output of {found[0]}"
    if not bool(torch.isfinite(loss.total)):
        return "first in the loss"
    named = [(name, p) for name, p in loss_module.named_parameters() if p.requires_grad]
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        loss.total, [p for _, p in named], allow_unused=True
    )
    for (name, _), gradient in zip(named, gradients, strict=True):
        if gradient is not None and not _is_finite(gradient):
            return f"the loss is finite; first in the gradient of {name}"
    return ""


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[str]]:
    """Gives a list that takes the names of submodules whose outputs are not finite, in order."""
    found: list[str] = []
    handles = []
    for name, child in module.named_modules():

        def look(_: nn.Module, __: object, output: object, name: str = name) -> None:
            if any(not _is_finite(tensor) for tensor in _tensors(output)):
                found.append(name or "the criterion")

        handles.append(child.register_forward_hook(look))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, ModelOutput):
        return [output.features]
    if isinstance(output, tuple | list):
        return [tensor for item in output for tensor in _tensors(item)]
    return []


def _is_finite(tensor: Tensor) -> bool:
    # An infinity is lawful in integers and masks only.
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
