"""Adafactor: a second moment of rows and columns instead of one of every value."""

from dataclasses import dataclass
from typing import Any

import torch
from typing_extensions import override

from seqtrain.optim.base import OptimizerConfig, OptimizerWrapper, register_optimizer
from seqtrain.option_checks import require_range


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
        require_range("optimizer.decay_rate", self.decay_rate, most=0)
        require_range("optimizer.eps", self.eps, least=0)
        require_range("optimizer.clip_threshold", self.clip_threshold, least=1)


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
