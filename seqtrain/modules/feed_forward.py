"""Feed-forward blocks of transformer layers, plain and gated."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.modules.dropout import Dropout

# The input is a fresh linear output whose value no gradient needs, so that relu may overwrite it.
_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}
FEED_FORWARD_ACTIVATIONS = (*_PLAIN, "swiglu")


def build_feed_forward(
    dim: int, ffn_dim: int, activation: str, dropout: float, has_bias: bool
) -> nn.Module:
    """Returns a feed-forward block.

    Args:
        dim: Width of inputs and outputs.
        ffn_dim: Inner width.
        activation: One of FEED_FORWARD_ACTIVATIONS.
        dropout: Probability of dropping an inner value.
        has_bias: Whether its layers add biases.
    """
    if activation == "swiglu":
        return GatedFeedForward(dim, ffn_dim, dropout, has_bias)
    return FeedForward(dim, ffn_dim, _PLAIN[activation], dropout, has_bias)


class FeedForward(nn.Module):
    """fc2(activation(fc1(x)))."""

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        activation: Callable[[Tensor], Tensor],
        dropout: float,
        has_bias: bool,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ffn_dim, bias=has_bias)
        self.fc2 = nn.Linear(ffn_dim, dim, bias=has_bias)
        self.activation = activation
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Returns [batch, time, dim] of the same."""
        return self.fc2(self.dropout(self.activation(self.fc1(x))))


class GatedFeedForward(nn.Module):
    """fc2(silu(gate) * values) (Shazeer 2020); fc1 gives gate and values, one after the other."""

    def __init__(self, dim: int, ffn_dim: int, dropout: float, has_bias: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * ffn_dim, bias=has_bias)
        self.fc2 = nn.Linear(ffn_dim, dim, bias=has_bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Returns [batch, time, dim] of the same."""
        gate, values = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(self.dropout(F.silu(gate) * values))
