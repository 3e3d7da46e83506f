"""Convolutions over sequences and images at several resolutions, without batch statistics.

Everything is [batch, height, width, dim]; a sequence is an image of height 1. `is_real` is 0 at
padding, else 1, [batch, height, width, 1]: each convolution sees zeros at padding, as it does
beyond the edge, so that padding changes no real position.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.modules.dropout import Dropout

Factor = tuple[int, int]
"""By how much height and width shrink or grow."""


class ResidualConv(nn.Module):
    """Normalisation, convolution, GELU, a linear layer, and a residual connection.

    The normalisation is over the channels of each position.

    Args:
        dim: Channels.
        kernel: Height and width that the convolution sees, both odd.
        dropout: On what is added.
    """

    def __init__(self, dim: int, kernel: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        # Its weight stays in torch's default layout: optimizer state of another one comes back
        # from a checkpoint in the default layout, and the rounding of an update depends on it.
        self.conv = nn.Conv2d(dim, dim, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
        nn.init.xavier_uniform_(self.conv.weight)
        self.linear = xavier_linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, is_real: Tensor) -> Tensor:
        """Returns [batch, height, width, dim] of the same."""
        hidden = (self.norm(x) * is_real).permute(0, 3, 1, 2)
        hidden = F.gelu(self.conv(hidden).permute(0, 2, 3, 1))
        return x + self.dropout(self.linear(hidden))


class ResidualConvs(nn.Module):
    """Several of them, one after the other."""

    def __init__(self, dim: int, kernel: tuple[int, int], num_blocks: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualConv(dim, kernel, dropout) for _ in range(num_blocks))

    def forward(self, x: Tensor, is_real: Tensor) -> Tensor:
        """Returns [batch, height, width, dim] of the same."""
        for block in self.blocks:
            x = block(x, is_real)
        return x


class Halve(nn.Module):
    """Normalisation, and a linear layer that makes one position of several neighbours.

    Args:
        dim: Channels before.
        out_dim: Channels after.
        factor: By how much height and width shrink.
    """

    def __init__(self, dim: int, out_dim: int, factor: Factor) -> None:
        super().__init__()
        self.factor = factor
        self.norm = nn.LayerNorm(dim)
        self.linear = xavier_linear(dim * factor[0] * factor[1], out_dim)

    def forward(self, x: Tensor, is_real: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the features and `is_real` at the lower resolution.

        Height and width are multiples of the factor.
        """
        lower = self.linear(join_neighbours(self.norm(x) * is_real, self.factor))
        return lower, join_neighbours(is_real, self.factor).amax(dim=3, keepdim=True)


class Double(nn.Module):
    """Brings features to a finer resolution, and adds those that were there.

    Args:
        dim: Channels before.
        out_dim: Channels after.
        factor: By how much height and width grow.
    """

    def __init__(self, dim: int, out_dim: int, factor: Factor) -> None:
        super().__init__()
        self.factor = factor
        self.norm = nn.LayerNorm(dim)
        self.linear = xavier_linear(dim, out_dim)

    def forward(self, x: Tensor, finer: Tensor) -> Tensor:
        """Returns [batch, height, width, out_dim] in the shape of `finer`."""
        return finer + repeat_positions(self.linear(self.norm(x)), self.factor)


def join_neighbours(x: Tensor, factor: Factor) -> Tensor:
    """Returns [batch, height / factor, width / factor, factor * factor * dim]."""
    batch, height, width, dim = x.shape
    down, right = factor
    split = x.view(batch, height // down, down, width // right, right, dim)
    return split.transpose(2, 3).reshape(batch, height // down, width // right, -1)


def repeat_positions(x: Tensor, factor: Factor) -> Tensor:
    """Returns [batch, height * factor, width * factor, dim]: each position is repeated."""
    batch, height, width, dim = x.shape
    down, right = factor
    repeated = x[:, :, None, :, None].expand(batch, height, down, width, right, dim)
    return repeated.reshape(batch, height * down, width * right, dim)


def pad_to_multiple(x: Tensor, multiple: Factor) -> Tensor:
    """Returns [batch, height, width, dim] with zeros at the right and below."""
    below, right = -x.size(1) % multiple[0], -x.size(2) % multiple[1]
    return F.pad(x, (0, 0, 0, right, 0, below)) if right or below else x


def xavier_linear(inputs: int, outputs: int) -> nn.Linear:
    """Returns a linear layer with weights of Glorot's uniform distribution and no bias at first."""
    linear = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
