"""Adamax, NAdam and RAdam: torch's, with its choice of kernel (lists of tensors on GPU)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from typing_extensions import override

from seqtrain.optim.adam import MomentsConfig
from seqtrain.optim.base import OptimizerWrapper, register_optimizer


@dataclass(kw_only=True)
class AdamaxConfig(MomentsConfig):
    """Adamax (Kingma and Ba, 2015, section 7.1); weight decay is added to the gradient (L2)."""

    lr: float = 2e-3
    """The peak learning rate."""

    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay of the running mean of gradients and of their running maximum."""


@dataclass(kw_only=True)
class NAdamConfig(MomentsConfig):
    """NAdam (Dozat, 2016): Adam with Nesterov momentum."""

    lr: float = 2e-3
    """The peak learning rate."""

    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay of the running mean of gradients and of their squares."""

    momentum_decay: float = 4e-3
    """How fast the momentum rises to its full value."""

    decoupled: bool = False
    """False: weight decay is added to the gradient (L2). True: p -= lr * decay * p."""


@dataclass(kw_only=True)
class RAdamConfig(MomentsConfig):
    """RAdam (Liu et al., 2020): Adam that warms itself up by the variance of its second moment."""

    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay of the running mean of gradients and of their squares."""

    decoupled: bool = False
    """False: weight decay is added to the gradient (L2). True: p -= lr * decay * p."""


@register_optimizer("adamax", config=AdamaxConfig)
class Adamax(OptimizerWrapper):
    """torch's Adamax."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adamax(
            groups, lr=self.config.lr, betas=tuple(self.config.betas), eps=self.config.eps
        )


@register_optimizer("nadam", config=NAdamConfig)
class NAdam(OptimizerWrapper):
    """torch's NAdam."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.NAdam(
            groups,
            lr=self.config.lr,
            betas=tuple(self.config.betas),
            eps=self.config.eps,
            momentum_decay=self.config.momentum_decay,
            decoupled_weight_decay=self.config.decoupled,
        )


@register_optimizer("radam", config=RAdamConfig)
class RAdam(OptimizerWrapper):
    """torch's RAdam."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.RAdam(
            groups,
            lr=self.config.lr,
            betas=tuple(self.config.betas),
            eps=self.config.eps,
            decoupled_weight_decay=self.config.decoupled,
        )
