"""Adagrad and its descendants with a forgetting second moment: Adadelta and RMSprop."""

from dataclasses import dataclass
from typing import Any

import torch
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer


@dataclass(kw_only=True)
class AdagradConfig(OptimizerConfig):
    """Adagrad (Duchi et al., 2011); weight decay is added to the gradient (L2)."""

    lr: float = 1e-2
    """The peak learning rate."""

    eps: float = 1e-10
    """Added to the root of the sum of squares."""

    initial_accumulator_value: float = 0.0
    """What the sum of squared gradients begins with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps < 0 or self.initial_accumulator_value < 0:
            raise ConfigError(
                "optimizer.eps and optimizer.initial_accumulator_value must not be negative."
            )


@dataclass(kw_only=True)
class AdadeltaConfig(OptimizerConfig):
    """Adadelta (Zeiler, 2012); weight decay is added to the gradient (L2)."""

    lr: float = 1.0
    """The peak learning rate; it multiplies a step that has a length of its own."""

    rho: float = 0.9
    """Decay of the running means of squares."""

    eps: float = 1e-6
    """Added to both running means before their roots."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.rho < 1.0 or self.eps < 0:
            raise ConfigError(
                f"optimizer.rho must be in [0, 1), got {self.rho}, and optimizer.eps not negative, "
                f"got {self.eps}."
            )


@dataclass(kw_only=True)
class RMSpropConfig(OptimizerConfig):
    """RMSprop (Tieleman and Hinton, 2012); weight decay is added to the gradient (L2)."""

    lr: float = 1e-2
    """The peak learning rate."""

    alpha: float = 0.99
    """Decay of the running mean of squared gradients."""

    eps: float = 1e-8
    """Added to the root of the second moment."""

    momentum: float = 0.0
    """Decay of the running sum of scaled gradients; 0 for none."""

    centered: bool = False
    """Divide by the standard deviation of the gradient rather than its root mean square."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.alpha < 1.0 or not 0.0 <= self.momentum < 1.0 or self.eps < 0:
            raise ConfigError(
                f"optimizer.alpha ({self.alpha}) and optimizer.momentum ({self.momentum}) must be "
                f"in [0, 1), optimizer.eps ({self.eps}) not negative."
            )


@register_optimizer("adagrad", config=AdagradConfig)
class Adagrad(OptimizerWrapper):
    """torch's Adagrad, fused where all parameters are on the CPU."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        devices = {parameter.device.type for group in groups for parameter in group["params"]}
        return torch.optim.Adagrad(
            groups,
            lr=self.config.lr,
            eps=self.config.eps,
            initial_accumulator_value=self.config.initial_accumulator_value,
            # None leaves the choice among the other kernels to torch.
            fused=True if devices == {"cpu"} else None,
        )


@register_optimizer("adadelta", config=AdadeltaConfig)
class Adadelta(OptimizerWrapper):
    """torch's Adadelta."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adadelta(
            groups, lr=self.config.lr, rho=self.config.rho, eps=self.config.eps
        )


@register_optimizer("rmsprop", config=RMSpropConfig)
class RMSprop(OptimizerWrapper):
    """torch's RMSprop."""

    is_elementwise = True

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            groups,
            lr=self.config.lr,
            alpha=self.config.alpha,
            eps=self.config.eps,
            momentum=self.config.momentum,
            centered=self.config.centered,
        )
