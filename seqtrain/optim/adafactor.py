"""Adafactor: a second moment of rows and columns instead of one of every value."""

from dataclasses import dataclass
from typing import Any

import torch
from typing_extensions import override

from seqtrain.errors import ConfigError
from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer


@dataclass(kw_only=True)
class AdafactorConfig(OptimizerConfig):
    """Adafactor (Shazeer and Stern, 2018), without momentum; weight decay is decoupled.

    The step of update n is min(lr, 1 / sqrt(n)) * max(eps, RMS(p)): the rate is relative to the
    size of the parameter.
    """

    lr: float = 1e-2
    """The peak learning rate, relative to the root mean square of the parameter."""

    decay_rate: float = -0.8
    """The second moment forgets with 1 - n ** decay_rate."""

    eps: float = 1e-3
    """Least root mean square that a parameter is taken to have."""

    clip_threshold: float = 1.0
    """Largest root mean square of a step before the rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay_rate > 0:
            raise ConfigError(f"optimizer.decay_rate must not be positive, got {self.decay_rate}.")
        if self.eps < 0:
            raise ConfigError(f"optimizer.eps must not be negative, got {self.eps}.")
        if self.clip_threshold < 1:
            raise ConfigError(
                f"optimizer.clip_threshold must be at least 1, got {self.clip_threshold}."
            )


@register_optimizer("adafactor", config=AdafactorConfig)
class Adafactor(OptimizerWrapper):
    """torch's Adafactor."""

    @override
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adafactor(
            groups,
            lr=self.config.lr,
            beta2_decay=self.config.decay_rate,
            eps=(None, self.config.eps),
            d=self.config.clip_threshold,
        )
