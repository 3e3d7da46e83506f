"""Token embedding."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbedding(nn.Module):
    """One vector for each symbol, drawn with standard deviation dim ** -0.5; padding is zero.

    With the scale sqrt(dim) inputs have unit variance, and the same weights serve as an output
    layer.

    Args:
        vocab_size: Number of symbols.
        dim: Width.
        padding_index: Symbol whose vector stays zero as an input.
        scale: Factor on the vectors as inputs; None for sqrt(dim).
        std: Standard deviation that weights begin with; None for dim ** -0.5.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        padding_index: int,
        scale: float | None = None,
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.padding_index = padding_index
        self.scale = math.sqrt(dim) if scale is None else scale
        # Replaced where the rows lie on several processes.
        self.lookup: Callable[[Tensor, Tensor, int], Tensor] = F.embedding
        self.weight = nn.Parameter(torch.empty(vocab_size, dim))
        nn.init.normal_(self.weight, std=dim**-0.5 if std is None else std)
        with torch.no_grad():
            self.weight[padding_index].zero_()

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Returns the scaled vectors, plus those of positions.

        Args:
            tokens: Symbol ids, int64 [batch, time].
            positions: Added to every sequence, [time, dim].

        Returns:
            [batch, time, dim].
        """
        vectors = self.lookup(tokens, self.weight, self.padding_index)
        if positions is None:
            return vectors * self.scale
        return torch.add(positions, vectors, alpha=self.scale)


def build_embeddings(
    vocab_sizes: tuple[int, int], dim: int, padding_index: int, sharing: str
) -> tuple[TokenEmbedding, TokenEmbedding, nn.Linear]:
    """Returns source embedding, target embedding and output projection of an encoder-decoder.

    Args:
        vocab_sizes: Symbols of source and target.
        dim: Width.
        padding_index: Symbol whose vector stays zero as an input.
        sharing: "all" uses one weight for the three, "decoder" one for target and output, "none"
            three.
    """
    source_size, target_size = vocab_sizes
    target = TokenEmbedding(target_size, dim, padding_index)
    is_one = sharing == "all"
    source = target if is_one else TokenEmbedding(source_size, dim, padding_index)
    output = nn.Linear(dim, target_size, bias=False)
    if sharing == "none":
        nn.init.normal_(output.weight, std=dim**-0.5)
    else:
        output.weight = target.weight
    return source, target, output
