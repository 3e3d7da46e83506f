"""Stochastic depth: whole residual branches left out, example by example."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves what a block adds out of some examples while training (Huang et al. 2016).

    The rest is scaled up, so that the expectation stays. The draws come from torch's default
    generator on the CPU: seeding it determines them, on every device.

    Args:
        p: Probability for each example, 0 <= p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"A drop path probability must be at least 0 and below 1, got {p}.")
        self.p = p

    def forward(self, x: Tensor, block: Tensor) -> Tensor:
        """Returns x plus what the block added, [batch, ...].

        Args:
            x: Input of the block.
            block: Its output, with the residual connection.
        """
        if not (self.training and self.p):
            return block
        kept = (torch.rand(len(x)) >= self.p).to(x.dtype) / (1.0 - self.p)
        kept = kept.view(-1, *(1,) * (x.dim() - 1)).to(x.device, non_blocking=True)
        return torch.addcmul(x, block - x, kept)

    def extra_repr(self) -> str:
        """Returns what print shows."""
        return f"p={self.p}"


def drop_path_rates(largest: float, num_layers: int) -> list[float]:
    """Returns the probability of each layer: from 0 at the first one, linearly to the largest."""
    return [largest * index / max(num_layers - 1, 1) for index in range(num_layers)]
