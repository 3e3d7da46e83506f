"""How a layer of a stack is run: left out at random, or computed again in the backward pass."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def is_dropped(probability: float) -> bool:
    """Draws whether a layer is left out of this pass.

    The draw is from torch's default generator on the CPU, so that no device waits for it. A
    probability of 0 draws nothing.

    A layer that no micro-batch of an update has run has the gradient zero.
    """
    return probability > 0.0 and float(torch.rand(())) < probability


def run_layer(layer: nn.Module, *inputs: Any, recompute: bool) -> Any:
    """Returns what a layer gives.

    Args:
        layer: Whose parameters and inputs get gradients.
        inputs: Positional arguments of its forward.
        recompute: Keep only the inputs for the backward pass, which then runs the layer again with
            the same random numbers (Chen et al. 2016). The gradients are the same to the last bit.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)
