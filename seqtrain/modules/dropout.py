"""Dropout whose masks are cheap to draw on a CPU and depend on nothing but the generator's seed."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override


class Dropout(nn.Module):
    """Sets values to zero with probability p while training, and scales up the others.

    On a CPU the mask is one random byte for each value, so p is rounded to a multiple of 1/256
    (but never to 0 or 1): 0.1 becomes 26/256 = 0.1016. The bytes come from torch's default
    generator, so that seeding it determines the masks. Other devices use torch's own dropout with
    the exact p.

    Args:
        p: Probability of a zero, 0 <= p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"A dropout probability must be at least 0 and below 1, got {p}.")
        self.p = p
        self.dropped_bytes = min(max(round(p * 256), 1), 255) if p else 0

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with dropout applied; x itself when not training or when p is 0."""
        if not self.training or not self.dropped_bytes:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        if torch.compiler.is_compiling():
            return x * torch.ops.seqtrain.dropout_mask(x.detach(), self.dropped_bytes)
        return x * _scaled_mask(x, self.dropped_bytes)

    @override
    def extra_repr(self) -> str:
        return f"p={self.p}"


def _scaled_mask(x: Tensor, dropped_bytes: int) -> Tensor:
    """Returns 0 with probability dropped_bytes / 256, else the inverse of the kept share."""
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    random_bytes = words.view(torch.uint8)[: x.numel()].view(x.shape)
    mask = torch.empty(x.shape, dtype=x.dtype)
    torch.ge(random_bytes, dropped_bytes, out=mask)
    return mask.mul_(256.0 / (256 - dropped_bytes))


# What torch's compiler is to leave as it is, so that compiled code draws the same masks. The tag
# keeps it from drawing a mask again in the backward pass.
_OPERATORS = torch.library.Library("seqtrain", "DEF")
_OPERATORS.define(
    "dropout_mask(Tensor x, int dropped_bytes) -> Tensor", tags=torch.Tag.nondeterministic_seeded
)
_OPERATORS.impl("dropout_mask", _scaled_mask, "CPU")
_OPERATORS.impl("dropout_mask", lambda x, dropped_bytes: torch.empty_like(x), "Meta")
