"""A linear map along time, for all channels or for each."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelLinear(nn.Module):
    """Maps the last dimension of [batch, channels, inputs].

    Args:
        inputs: Size of the last dimension.
        outputs: What it becomes.
        num_maps: 1 for a map that all channels share, else the number of channels.
    """

    def __init__(self, inputs: int, outputs: int, num_maps: int = 1) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(num_maps, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_maps, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Returns [batch, channels, outputs] of [batch, channels, inputs]."""
        if len(self.weight) == 1:
            return F.linear(x, self.weight[0], self.bias[0])
        return torch.einsum("bci,coi->bco", x, self.weight) + self.bias
