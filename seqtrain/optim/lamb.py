"""LAMB: Adam's step, rescaled in every tensor to the size of the parameter."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.optim.adam import MomentsConfig
from seqtrain.optim.base import OptimizerWrapper, register_optimizer
from seqtrain.optim.list_optimizer import ListOptimizer


@dataclass(kw_only=True)
class LAMBConfig(MomentsConfig):
    """LAMB (You et al., 2020), for large batches; weight decay is part of the rescaled step."""

    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay of the running mean of gradients and of their squares."""

    eps: float = 1e-6
    """Added to the root of the second moment."""


@register_optimizer("lamb", config=LAMBConfig)
class LAMB(OptimizerWrapper):
    """Algorithm 2 of the paper, with phi(x) = x, and a ratio of 1 where either norm is 0."""

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        config = self.config
        return _LAMB(groups, {"lr": config.lr, "betas": list(config.betas), "eps": config.eps})


class _LAMB(ListOptimizer):
    @override
    def update(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        beta1, beta2 = group["betas"]
        states = [self._state_of(p) for p in parameters]
        for state in states:
            state["step"] += 1
        means = [state["mean"] for state in states]
        squares = [state["square"] for state in states]
        torch._foreach_lerp_(means, gradients, 1.0 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [(1.0 - beta2 ** state["step"]) ** 0.5 for state in states])
        torch._foreach_add_(roots, group["eps"])
        steps = torch._foreach_div(means, roots)
        torch._foreach_div_(steps, [1.0 - beta1 ** state["step"] for state in states])
        if group["weight_decay"]:
            torch._foreach_add_(steps, parameters, alpha=group["weight_decay"])
        torch._foreach_mul_(steps, _trust_ratios(parameters, steps))
        torch._foreach_add_(parameters, steps, alpha=-group["lr"])

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        return state


def _trust_ratios(parameters: list[Tensor], steps: tuple[Tensor, ...]) -> list[Tensor]:
    sizes, lengths = torch._foreach_norm(parameters), torch._foreach_norm(steps)
    return [
        torch.where((size > 0) & (length > 0), size / length, 1.0)
        for size, length in zip(sizes, lengths, strict=True)
    ]
