"""Stochastic gradient descent, and fairseq's variant with Nesterov's momentum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent; weight decay is added to the gradient (L2)."""

    lr: float = 0.1
    """The peak learning rate."""

    momentum: float = 0.0
    """Decay of the running sum of gradients; 0 for none."""

    nesterov: bool = False
    """Look ahead along the momentum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("optimizer.momentum", self.momentum, least=0, below=1)
        if self.nesterov and not self.momentum:
            raise ConfigError("optimizer.nesterov needs optimizer.momentum above 0.")


@dataclass(kw_only=True)
class NAGConfig(OptimizerConfig):
    """Nesterov's accelerated gradient; weight decay is decoupled: p -= lr * decay * p."""

    lr: float = 0.25
    """The peak learning rate."""

    momentum: float = 0.99
    """Decay of the running sum of gradients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("optimizer.momentum", self.momentum, above=0, below=1)


@register_optimizer("sgd", config=SGDConfig)
class SGD(OptimizerWrapper):
    """torch's SGD in its fused form, on CPU and GPU."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            groups,
            lr=self.config.lr,
            momentum=self.config.momentum,
            nesterov=self.config.nesterov,
            fused=True,
        )


@register_optimizer("nag", config=NAGConfig)
class NAG(OptimizerWrapper):
    """fairseq's nag.

    It keeps b = m * b * lr / previous lr - lr * g and adds m**2 * b_before * lr / previous lr -
    (1 + m) * lr * g. With b = -lr * v that is v = m * v + g and p -= lr * (g + m * v): torch's SGD
    with Nesterov momentum, whose state does not depend on the rate, after p *= 1 - lr * decay.
    """

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        decoupled = [
            group | {"weight_decay": 0.0, "decoupled_weight_decay": group["weight_decay"]}
            for group in groups
        ]
        return _DecoupledSGD(
            decoupled, lr=self.config.lr, momentum=self.config.momentum, nesterov=True, fused=True
        )


class _DecoupledSGD(torch.optim.SGD):
    @torch.no_grad()
    @override
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # no closure, no loss
        for group in self.param_groups:
            decay = group["lr"] * group["decoupled_weight_decay"]
            trained = [p for p in group["params"] if p.grad is not None]
            if decay and trained:
                torch._foreach_mul_(trained, 1.0 - decay)
        super().step()
