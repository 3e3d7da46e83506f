"""Normalisation of each window of a series by itself, undone on what is forecast from it."""

from dataclasses import dataclass

from torch import Tensor

WINDOW_NORMS = ("none", "last", "standard")
EPSILON = 1e-5


@dataclass(frozen=True)
class WindowScale:
    """What was taken from a window: value = normalised * scale + shift.

    Args:
        shift: [batch, channels, 1].
        scale: The same shape; None for 1.
    """

    shift: Tensor
    scale: Tensor | None

    def undo(self, values: Tensor) -> Tensor:
        """Returns [batch, channels, ...] in the units of the window."""
        shape = (*self.shift.shape[:2], *([1] * (values.dim() - 2)))
        if self.scale is not None:
            values = values * self.scale.view(shape)
        return values + self.shift.view(shape)


def normalize_window(values: Tensor, kind: str) -> tuple[Tensor, WindowScale | None]:
    """Returns a window without its level, and what was taken.

    Args:
        values: [batch, channels, time].
        kind: none; last: the last value is subtracted; standard: mean 0, standard deviation 1, as
            in RevIN (Kim et al. 2022) without its learnt scale.
    """
    if kind == "none":
        return values, None
    if kind == "last":
        scale = WindowScale(values[:, :, -1:].detach(), None)
        return values - scale.shift, scale
    shift = values.mean(dim=2, keepdim=True).detach()
    centered = values - shift
    deviation = (centered.square().mean(dim=2, keepdim=True) + EPSILON).sqrt().detach()
    return centered / deviation, WindowScale(shift, deviation)
