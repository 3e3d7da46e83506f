"""Optimizers of parameters that lie on several ranks: each rank updates its part of every one."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.checkpoint.spread_state import leaf_of, part_of
from seqtrain.distributed.blocks import is_spread, local_parameter, local_part
from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper
from seqtrain.optim.outer_wrapper import OuterWrapper, with_slots

Pairs = Sequence[tuple[nn.Parameter, Tensor]]
"""Parameters and this rank's parts of their gradients."""
Norm = Callable[[Pairs], Tensor]
"""Returns the 2-norm of the whole gradient."""
AddUp = Callable[[Pairs], None]
"""Replaces gradients by sums over the ranks that have other micro-batches, where the backward pass
has not done it."""


class SpreadOptimizer(OuterWrapper):
    """Another wrapper over this rank's parts of parameters, which are plain tensors to it.

    An update of single values is the same whoever performs it, so parts are updated by the same
    kernels as whole parameters, to the same bits.

    Args:
        cls: Class of the wrapper.
        config: Its config.
        named_parameters: Spread over ranks, or whole on each of them.
        norm: Computes the norm of a gradient over all ranks.
        add_up: Completes the gradients.

    Raises:
        ConfigError: The optimizer needs whole parameters.
    """

    def __init__(
        self,
        cls: type[OptimizerWrapper],
        config: OptimizerConfig,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        norm: Norm,
        add_up: AddUp,
    ) -> None:
        self._whole = dict(named_parameters)
        parts = {name: local_parameter(parameter) for name, parameter in self._whole.items()}
        super().__init__(cls(config, parts.items()))
        if not self.inner.is_elementwise:
            raise ConfigError(
                f"optimizer={config.name} needs whole parameters, not the parts that "
                "distributed.strategy=fsdp and distributed.tensor_parallel leave to a process. Use "
                "strategy=ddp, or an optimizer of single values, as adamw."
            )
        for name, parameter in self._whole.items():
            parameter.requires_grad_(name in self.parameters)
        self._all_parts = parts
        self._norm_over_ranks = norm
        self._add_up = add_up

    @override
    def masters(self) -> dict[Tensor, Tensor]:
        return {self._whole[name]: part for name, part in self._all_parts.items()}

    @override
    def group_lines(self) -> list[str]:
        return [f"{line} (of this process)" for line in self.inner.group_lines()]

    @override
    def zero_grad(self) -> None:
        self.inner.zero_grad()
        for parameter in self._whole.values():
            parameter.grad = None

    @override
    def collect_gradients(self) -> None:
        for name, part in self.parameters.items():
            parameter = self._whole[name]
            if is_spread(parameter) and parameter.grad is not None:
                part.grad = local_part(parameter.grad)
                parameter.grad = None
        self.inner.collect_gradients()
        self._add_up(self._pairs())

    @override
    def scale_grads(self, factor: float | Tensor) -> None:
        # With cpu_offload the gradients are with the CPU, and the factor comes from the GPU.
        if isinstance(factor, Tensor) and any(g.device != factor.device for g in self._gradients()):
            factor = factor.cpu()
        super().scale_grads(factor)

    @override
    def state_dict(self) -> dict[str, Any]:
        return with_slots(self.inner.state_dict(), self._as_leaves)

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(with_slots(state, self._own_parts))

    @override
    def _norm(self, gradients: list[Tensor]) -> Tensor:
        return self._norm_over_ranks(self._pairs(set(self._resting())))

    def _pairs(self, without: Collection[nn.Parameter] = ()) -> Pairs:
        return [
            (self._whole[name], part.grad)
            for name, part in self.parameters.items()
            if part.grad is not None and part not in without
        ]

    def _as_leaves(self, name: str, slots: Mapping[str, Any]) -> dict[str, Any]:
        part = self.parameters[name]
        return {
            slot: leaf_of(self._whole[name], value) if _has_shape(value, part) else value
            for slot, value in slots.items()
        }

    def _own_parts(self, name: str, slots: Mapping[str, Any]) -> dict[str, Any]:
        whole = self._whole.get(name)
        if whole is None:  # the inner wrapper refuses it
            return dict(slots)
        for slot, value in slots.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != whole.shape:
                raise CheckpointError(
                    f"The saved optimizer state {slot!r} of {name} has the shape "
                    f"{list(value.shape)}, the parameter {list(whole.shape)}."
                )
        return {
            slot: part_of(whole, value) if _has_shape(value, whole) else value
            for slot, value in slots.items()
        }


def _has_shape(value: object, like: Tensor) -> bool:
    return isinstance(value, Tensor) and bool(value.dim()) and value.shape == like.shape


def sum_flat(gradients: Sequence[Tensor], add: Callable[[Tensor], Tensor]) -> None:
    """Replaces tensors of one dtype by what `add` makes of them, joined end to end."""
    flat = add(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
