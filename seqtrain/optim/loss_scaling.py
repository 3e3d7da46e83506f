"""Loss scaling: keeps the gradients of a float16 backward pass within float16's range."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqtrain.errors import NumericError


class LossScaler:
    """A factor on the loss that falls when gradients overflow and is tried higher when they do not.

    Gradients are divided by it again in float32, together with the division by the number of
    targets, before anything measures or changes them. Powers of two change no digits.

    Args:
        init_scale: The first factor.
        window: Applied updates in a row after which the factor is doubled.
        min_scale: The smallest factor.
    """

    def __init__(self, init_scale: float, window: int, min_scale: float) -> None:
        self.scale = init_scale
        self.num_good_updates = 0
        self._window = window
        self._min_scale = min_scale

    def scaled(self, loss: Tensor) -> Tensor:
        """Returns the loss to take gradients of; float32 at least, for float16 may not hold it."""
        return loss.to(torch.promote_types(loss.dtype, torch.float32)) * self.scale

    def report(self, applied: bool, grad_norm: float, lr: float) -> None:
        """Chooses the factor of the next update.

        Args:
            applied: False if the gradient was not finite.
            grad_norm: Norm of the gradient of the mean loss; for the message.
            lr: Rate of the update; for the message.

        Raises:
            NumericError: The factor would have to fall below the smallest.
        """
        if applied:
            self.num_good_updates += 1
            if self.num_good_updates == self._window:
                self.scale *= 2.0
                self.num_good_updates = 0
            return
        self.num_good_updates = 0
        if self.scale / 2.0 < self._min_scale:
            raise NumericError(
                f"The gradient is not finite even with a loss scale of {self.scale:g}, and "
                f"precision.min_scale is {self._min_scale:g} (norm {grad_norm}, lr "
                f"{lr:.4g}). The newest checkpoint is unharmed: lower optimizer.lr or "
                "optimization.clip_norm, or train with precision.dtype=bf16 or fp32."
            )
        self.scale /= 2.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the factor and the updates since it last changed."""
        return {"scale": self.scale, "num_good_updates": self.num_good_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.scale = float(state["scale"])
        self.num_good_updates = int(state["num_good_updates"])
