"""What models of labelled sequences share: the first layer, pooling, the last layer."""

import torch
from torch import Tensor, nn

from seqtrain.data.vocabulary import PADDING
from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext
from seqtrain.modules.embedding import TokenEmbedding

POOLINGS = ("mean", "max")


class InputVectors(nn.Module):
    """Vectors of the positions: channels as they are, or embedded symbols; zero at padding.

    Args:
        model: Name of the model, for messages.
        context: Tells whether inputs are channels or symbols.
        dim: Width of embedded symbols.

    Attributes:
        width: Of the result.
    """

    def __init__(self, model: str, context: ModelContext, dim: int) -> None:
        super().__init__()
        self.model = model
        self.embedding: TokenEmbedding | None = None
        self.width = context.num_channels
        if not context.num_channels:
            context.require(model, "source_vocab_size")
            self.embedding = TokenEmbedding(context.source_vocab_size, dim, PADDING)
            self.width = dim

    def forward(self, padding_mask: Tensor, values: Tensor | None, tokens: Tensor | None) -> Tensor:
        """Returns [batch, time, width].

        Args:
            padding_mask: True at padding, bool [batch, time].
            values: [batch, time, channels], or None.
            tokens: int64 [batch, time], or None.
        """
        if padding_mask.dim() != 2:
            raise ConfigError(
                f"model={self.model} reads sequences, and the examples are images. Set "
                "task.patch_size to make them sequences of patches, or choose another model."
            )
        if self.embedding is not None and tokens is not None:
            x = self.embedding(tokens)
        elif self.embedding is None and values is not None:
            x = values
        else:
            raise ValueError(f"model={self.model} got another kind of input than its context says.")
        return x * ~padding_mask[:, :, None]


def class_layer(dim: int, num_classes: int) -> nn.Linear:
    """Returns the last layer: logits of classes, from features of positions or of examples."""
    linear = nn.Linear(dim, num_classes)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def pool(x: Tensor, padding_mask: Tensor, pooling: str) -> Tensor:
    """Returns one vector for each example, [batch, dim].

    Args:
        x: [batch, time, dim].
        padding_mask: True at padding, bool [batch, time]; no row is all padding.
        pooling: "mean" or "max" over the real positions.
    """
    if pooling == "max":
        lowest = torch.finfo(x.dtype).min
        return x.masked_fill(padding_mask[:, :, None], lowest).amax(dim=1)
    weights = (~padding_mask).to(x.dtype)
    return torch.bmm(weights[:, None], x)[:, 0] / weights.sum(dim=1, keepdim=True)
