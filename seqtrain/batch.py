"""Batch: what a dataset gives and a criterion consumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples put together, padded to one length.

    An *empty* batch, which ranks without work receive, has `num_targets == 0` and no ids. Its
    tensors still hold one row (end-of-sequence in, padding as target), so that every model runs
    on it without a special case and every parameter gets a gradient of zero.
    """

    inputs: dict[str, Tensor]
    """Keyword arguments of the model's forward; batch first."""
    targets: Tensor
    """What the criterion compares with, [batch, ...]; ignored positions hold padding."""
    ids: Tensor
    """Example indices in the dataset, int64 [examples]; empty in an empty batch."""
    num_targets: int
    """Targets that count in the loss (padding excluded): the unit of normalisation."""
    num_tokens: int = 0
    """Positions that hold data, inputs and targets together."""
    num_positions: int = 0
    """The same with padding: num_tokens / num_positions is the share of useful work."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """What single criteria need besides: weights, masks, soft targets."""

    @property
    def num_examples(self) -> int:
        """Number of real examples."""
        return self.ids.numel()

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on a device; the batch itself where it is there already."""
        tensors = (self.targets, self.ids, *self.inputs.values(), *self.extras.values())
        if all(tensor.device == device for tensor in tensors):
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Returns the batch in page-locked memory; the DataLoader calls it."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            inputs={name: function(tensor) for name, tensor in self.inputs.items()},
            targets=function(self.targets),
            ids=function(self.ids),
            extras={name: function(tensor) for name, tensor in self.extras.items()},
        )
