"""Base of the optimizers written here, on torch's functions for lists of tensors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override


class ListOptimizer(torch.optim.Optimizer, ABC):
    """A torch optimizer whose update is a formula on lists of tensors.

    Args:
        groups: As a wrapper's `build` receives them.
        settings: Hyper-parameters of every group; the rate among them.
    """

    def __init__(self, groups: list[dict[str, Any]], settings: dict[str, Any]) -> None:
        super().__init__(groups, settings)

    @torch.no_grad()
    @override
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # no closure, no loss
        for group in self.param_groups:
            for parameters, gradients in _lists(group["params"]):
                self.update(parameters, gradients, group)

    @abstractmethod
    def update(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        """Changes the parameters in place."""


def _lists(parameters: Iterable[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Returns lists of parameters and of their gradients, of one device and dtype each.

    A long list on a GPU saves launches. On the CPU nothing is launched, and what a long list leaves
    between two functions falls out of the cache, so each list there holds one tensor.
    """
    lists: list[tuple[list[Tensor], list[Tensor]]] = []
    by_kind: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.device.type == "cpu":
            lists.append(([parameter], [parameter.grad]))
        else:
            kind = (parameter.device, parameter.dtype)
            members, gradients = by_kind.setdefault(kind, ([], []))
            members.append(parameter)
            gradients.append(parameter.grad)
    return lists + list(by_kind.values())
