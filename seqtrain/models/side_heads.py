"""Heads beside the main one, for the side losses of segmentation (criteria/segmentation.py)."""

from torch import Tensor, nn

from seqtrain.models.base import ModelContext
from seqtrain.models.labelled_inputs import class_layer

AUXILIARY = "auxiliary_logits"
"""Name in `ModelOutput.aux` of a second head's logits, in the shape of the main ones."""
PRESENCE = "presence_logits"
"""Name in `ModelOutput.aux` of logits that a class occurs in the example, [batch, classes]."""


class SideHeads(nn.Module):
    """Classes of positions from inner features, and which classes occur at all.

    Args:
        dim: Width of the features.
        context: Tells the number of classes.
        has_auxiliary: Give AUXILIARY.
        has_presence: Give PRESENCE.
    """

    def __init__(
        self, dim: int, context: ModelContext, has_auxiliary: bool, has_presence: bool
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim) if has_auxiliary or has_presence else None
        self.auxiliary_head = class_layer(dim, context.num_classes) if has_auxiliary else None
        self.presence_head = class_layer(dim, context.num_classes) if has_presence else None

    def forward(self, x: Tensor, is_real: Tensor) -> dict[str, Tensor]:
        """Returns the logits by name; those of positions are [batch, *positions, classes].

        Args:
            x: [batch, *positions, dim].
            is_real: 0 at padding, else 1, [batch, *positions].
        """
        aux: dict[str, Tensor] = {}
        if self.norm is None:
            return aux
        x = self.norm(x)
        if self.auxiliary_head is not None:
            aux[AUXILIARY] = self.auxiliary_head(x)
        if self.presence_head is not None:
            weights = is_real.flatten(1)
            total = (x.flatten(1, -2) * weights[:, :, None]).sum(dim=1)
            mean = total / weights.sum(dim=1, keepdim=True).clamp(min=1.0)
            aux[PRESENCE] = self.presence_head(mean)
        return aux
