"""What may be done to gradients between their computation and the step, besides the norm."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seqtrain import rng


def clip_grad_values(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Puts every value of every gradient between -limit and limit."""
    if gradients := _gradients(parameters):
        torch._foreach_clamp_min_(gradients, -limit)
        torch._foreach_clamp_max_(gradients, limit)


def add_grad_noise(parameters: Iterable[nn.Parameter], deviation: float, *key: int | str) -> None:
    """Adds normal noise to every gradient, the same on every rank.

    Args:
        parameters: In the same order on every rank; those without a gradient are passed over.
        deviation: Standard deviation of the noise.
        key: What the noise is drawn from: the seed, what it is for, the update.
    """
    generators: dict[torch.device, torch.Generator] = {}
    for gradient in _gradients(parameters):
        device = gradient.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(rng.key(*key))
        noise = torch.empty_like(gradient).normal_(0.0, deviation, generator=generators[device])
        gradient.add_(noise)


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Returns the gradients that there are; of sparse ones, the values."""
    found = []
    for parameter in parameters:
        if parameter.grad is not None:
            is_sparse = parameter.grad.is_sparse
            found.append(parameter.grad._values() if is_sparse else parameter.grad)
    return found
