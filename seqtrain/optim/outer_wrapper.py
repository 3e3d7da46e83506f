"""Base of wrappers around another optimizer wrapper, which does the work."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.optim.base import NO_RATES, OptimizerWrapper


class OuterWrapper(OptimizerWrapper):
    """Hands everything to an inner wrapper; a subclass changes what it must.

    Args:
        inner: Owns the torch optimizers, and the parameters as they are updated.
    """

    def __init__(self, inner: OptimizerWrapper) -> None:
        self.inner = inner
        self.config = inner.config
        self.groups = inner.groups
        self.parameters = inner.parameters
        self.torch_optimizers = inner.torch_optimizers
        self.num_updates = inner.num_updates
        self._names = inner._names

    @override
    def build(self, groups: list[dict[str, Any]]) -> list[torch.optim.Optimizer]:
        return self.inner.torch_optimizers

    @override
    def masters(self) -> dict[Tensor, Tensor]:
        return self.inner.masters()

    @override
    def group_lines(self) -> list[str]:
        return self.inner.group_lines()

    @override
    def zero_grad(self) -> None:
        self.inner.zero_grad()

    @override
    def collect_gradients(self) -> None:
        self.inner.collect_gradients()

    @override
    def set_lr(self, lr: float, own: Mapping[str, float] = NO_RATES) -> None:
        self.inner.set_lr(lr, own)

    @override
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        self.inner.step(closure)
        self.num_updates = self.inner.num_updates

    @override
    def prepare_for_evaluation(self) -> None:
        self.inner.prepare_for_evaluation()

    @override
    def prepare_for_training(self) -> None:
        self.inner.prepare_for_training()

    @override
    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)
        self.num_updates = self.inner.num_updates

    @override
    def _resting(self) -> list[nn.Parameter]:
        return self.inner._resting()


def with_slots(
    state: Mapping[str, Any], change: Callable[[str, Mapping[str, Any]], Any]
) -> dict[str, Any]:
    """Returns an optimizer's state with other slots, also of the members of a composite.

    Args:
        state: From `OptimizerWrapper.state_dict`.
        change: Given a parameter's name and its slots, returns what takes their place; None for
            nothing.
    """
    changed = dict(state)
    if "members" in state:
        changed["members"] = [with_slots(member, change) for member in state["members"]]
    if "slots" in state:
        found = {name: change(name, slots) for name, slots in state["slots"].items()}
        changed["slots"] = {name: slots for name, slots in found.items() if slots is not None}
    return changed
