"""What a criterion is: a module that turns a model's output on a batch into a sum of losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.metrics import Metrics
from seqtrain.models.base import ModelContext
from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class CriterionConfig(ComponentConfig):
    """Base of every criterion's config."""


@dataclass(frozen=True)
class LossOutput:
    """Loss of one batch.

    Args:
        total: Sum of the loss over targets, a scalar in nats; never a mean, since the Trainer
            divides once by the number of targets of the whole update.
        num_targets: Targets summed over; 0 for an empty batch.
        metrics: The same names for every batch, an empty one included.
    """

    total: Tensor
    num_targets: int
    metrics: Metrics


class Criterion(nn.Module, ABC):
    """Base of every criterion. It may own parameters: they are trained and saved."""

    def __init__(self, config: Any, context: ModelContext) -> None:
        super().__init__()
        self.config = config
        self.context = context

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Runs the model on the batch and returns the summed loss."""


CRITERIA: Registry[Criterion] = Registry("criterion", Criterion)
register_criterion = CRITERIA.register
