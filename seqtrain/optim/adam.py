"""Adam and AdamW."""

from dataclasses import dataclass, field
from typing import Any

import torch
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer
from seqtrain.optim.lean_adam import LeanAdam, LeanAdamW
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class MomentsConfig(OptimizerConfig):
    """Base of the configs of optimizers with a first and a second moment."""

    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    """Decay of the running mean of gradients and of their squares."""

    eps: float = 1e-8
    """Added to the root of the second moment."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ConfigError(
                f"optimizer.betas must be two numbers of [0, 1), got {list(self.betas)}."
            )
        require_range("optimizer.eps", self.eps, least=0)


@dataclass(kw_only=True)
class AdamConfig(MomentsConfig):
    """Adam (Kingma and Ba, 2015); weight decay is added to the gradient (L2) by default."""

    decoupled: bool = False
    """False: weight decay is added to the gradient (L2) and scaled with it. True: it is applied to
    the parameter, p -= lr * decay * p, which is what fairseq's adam does, and adamw."""


@dataclass(kw_only=True)
class AdamWConfig(MomentsConfig):
    """AdamW (Loshchilov and Hutter, 2019); weight decay is decoupled: p -= lr * decay * p."""

    weight_decay: float = 0.01
    """Decoupled weight decay."""


@register_optimizer("adam", config=AdamConfig)
class Adam(OptimizerWrapper):
    """torch's Adam in its fused form, on CPU and GPU."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return LeanAdam(
            groups,
            lr=self.config.lr,
            betas=tuple(self.config.betas),
            eps=self.config.eps,
            decoupled_weight_decay=self.config.decoupled,
            fused=True,
        )


@register_optimizer("adamw", config=AdamWConfig)
class AdamW(OptimizerWrapper):
    """torch's AdamW in its fused form, on CPU and GPU."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return LeanAdamW(
            groups,
            lr=self.config.lr,
            betas=tuple(self.config.betas),
            eps=self.config.eps,
            fused=True,
        )
