"""ZeRO-1: each rank keeps the optimizer's state of some parameters, and updates these for all."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.checkpoint.pieces import Own
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.division import divide_by_size
from seqtrain.errors import ConfigError
from seqtrain.optim.base import OptimizerWrapper
from seqtrain.optim.outer_wrapper import OuterWrapper, with_slots


class ZeroOptimizer(OuterWrapper):
    """Another wrapper whose state is divided among ranks that have whole parameters and gradients.

    Each parameter belongs to one rank (Rajbhandari et al. 2020, stage 1). Its own update is the one
    that every rank would perform, so the result is the same to the bit.

    Args:
        inner: Of all parameters, the same on every rank.
        collectives: Connected to the other ranks.

    Raises:
        ConfigError: The optimizer is not a sum of updates of single parameters.
    """

    def __init__(self, inner: OptimizerWrapper, collectives: Collectives) -> None:
        super().__init__(inner)
        if inner.needs_closure or not inner.changes_in_step_only:
            raise ConfigError(
                f"optimizer={inner.config.name} does not update each parameter by itself in one "
                "step, so distributed.shard_optimizer=true cannot divide its work. Leave it out."
            )
        if inner.masters():
            raise ConfigError(
                "distributed.shard_optimizer=true needs precision.parameters=fp32: copies of "
                "parameters in float32 are kept whole."
            )
        self._collectives = collectives
        named = list(self.parameters.items())
        owners = divide_by_size([p.numel() for _, p in named], collectives.world_size)
        self._owner = {name: owner for (name, _), owner in zip(named, owners, strict=True)}
        self._forget_others()

    @override
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        # A parameter without a gradient is passed over, and gets no state.
        for name, parameter in self.parameters.items():
            if not self._is_own(name):
                parameter.grad = None
        super().step(closure)
        self._share()

    @override
    def state_dict(self) -> dict[str, Any]:
        return with_slots(self.inner.state_dict(), lambda _, slots: Own(dict(slots)))

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        def own(name: str, slots: Mapping[str, Any]) -> Mapping[str, Any] | None:
            # Unknown names stay, for the inner wrapper to refuse.
            return slots if name not in self._owner or self._is_own(name) else None

        super().load_state_dict(with_slots(state, own))

    def _is_own(self, name: str) -> bool:
        return self._owner[name] == self._collectives.rank

    def _forget_others(self) -> None:
        """Drops what some optimizers make at once for every parameter."""
        for optimizer in self.torch_optimizers:
            for name, parameter in self.parameters.items():
                if not self._is_own(name):
                    optimizer.state.pop(parameter, None)

    @torch.no_grad()
    def _share(self) -> None:
        """Gives each rank the parameters that the others have updated."""
        for rank in range(self._collectives.world_size):
            theirs = [p for name, p in self.parameters.items() if self._owner[name] == rank]
            if not theirs:
                continue
            flat = torch.cat([parameter.reshape(-1) for parameter in theirs])
            flat = self._collectives.broadcast(flat, rank)
            if rank != self._collectives.rank:
                parts = flat.split([parameter.numel() for parameter in theirs])
                for parameter, part in zip(theirs, parts, strict=True):
                    parameter.copy_(part.view(parameter.shape))
