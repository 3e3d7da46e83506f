"""Lion: steps of the sign of an interpolated momentum."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer
from seqtrain.optim.list_optimizer import ListOptimizer


@dataclass(kw_only=True)
class LionConfig(OptimizerConfig):
    """Lion (Chen et al., 2023); weight decay is decoupled: p -= lr * decay * p.

    The paper advises a rate 3 to 10 times below AdamW's and a decay as many times above.
    """

    lr: float = 1e-4
    """The peak learning rate; the length of every value's step."""

    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    """Weight of the momentum in the step, and its decay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ConfigError(
                f"optimizer.betas must be two numbers of [0, 1), got {list(self.betas)}."
            )


@register_optimizer("lion", config=LionConfig)
class Lion(OptimizerWrapper):
    """Algorithm 2 of the paper; the state is one momentum."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _Lion(groups, {"lr": self.config.lr, "betas": list(self.config.betas)})


class _Lion(ListOptimizer):
    @override
    def update(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in parameters]
        steps = torch._foreach_lerp(momenta, gradients, 1.0 - beta1)
        torch._foreach_sign_(steps)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1.0 - lr * group["weight_decay"])
        torch._foreach_add_(parameters, steps, alpha=-lr)
        torch._foreach_lerp_(momenta, gradients, 1.0 - beta2)
