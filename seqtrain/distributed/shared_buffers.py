"""Buffers of a module, which its passes may change: the same on all ranks after each update."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from seqtrain.distributed.collectives import Collectives


class SharedBuffers:
    """The buffers that a checkpoint holds.

    Each rank's passes change its own. After each update, statistics of normalisation become the
    mean over ranks, so that every batch counts, and all others those of rank 0, which always has
    a batch. So all ranks evaluate the same model, and continue exactly from a checkpoint, which
    has one copy.

    Args:
        module: With the same buffers on every rank.
        collectives: Connected to the other ranks.
    """

    def __init__(self, module: nn.Module, collectives: Collectives) -> None:
        self._collectives = collectives
        # By their owners, which may put another tensor in the place of a buffer.
        self._owners = {
            f"{path}.{name}" if path else name: (owner, name)
            for path, owner in module.named_modules()
            for name, _ in owner.named_buffers(recurse=False)
            if name not in owner._non_persistent_buffers_set
        }
        self._before: dict[str, Tensor] = {}

    def named(self) -> dict[str, Tensor]:
        """Returns the buffers by name."""
        return {path: owner.get_buffer(name) for path, (owner, name) in self._owners.items()}

    @torch.no_grad()
    def share(self) -> None:
        """Makes the buffers the same on all ranks; they call it together."""
        if self._collectives.is_alone or not self._owners:
            return
        statistics: list[Tensor] = []
        others: dict[torch.dtype, list[Tensor]] = {}
        for path, buffer in self.named().items():
            is_norm = isinstance(self._owners[path][0], _NormBase)
            if is_norm and buffer.is_floating_point():
                statistics.append(buffer)
            else:
                others.setdefault(buffer.dtype, []).append(buffer)
        if statistics:
            total = self._collectives.all_reduce_sum(_joined([b.double() for b in statistics]))
            _write(statistics, total / self._collectives.world_size)
        for buffers in others.values():
            _write(buffers, self._collectives.broadcast(_joined(buffers), 0))

    @torch.no_grad()
    def remember(self) -> None:
        """Keeps the present values for `restore`."""
        self._before = {path: buffer.clone() for path, buffer in self.named().items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Takes back what has changed since `remember`: by the passes of an update that is none."""
        for path, buffer in self.named().items():
            buffer.copy_(self._before[path])


def _joined(buffers: list[Tensor]) -> Tensor:
    return torch.cat([buffer.reshape(-1) for buffer in buffers])


def _write(buffers: list[Tensor], flat: Tensor) -> None:
    parts = flat.split([buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view(buffer.shape))
