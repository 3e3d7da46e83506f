"""What a criterion is: a module that turns a model's output on a batch into a sum of losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.criteria.target_kinds import ANYTHING, TargetKind
from seqtrain.metrics import Metrics
from seqtrain.models.base import ModelContext, ModelOutput
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
        output: What the model gave, for metrics of the task in evaluation; None where it gave
            several outputs.
    """

    total: Tensor
    num_targets: int
    metrics: Metrics
    output: ModelOutput | None = None


class Criterion(nn.Module, ABC):
    """Base of every criterion. It may own parameters: they are trained and saved."""

    shares_output: ClassVar[bool] = True
    """Takes one output of the model for a batch; False: runs the model more often, for itself."""

    target_kind: ClassVar[TargetKind] = ANYTHING
    """What it compares with; a task that gives other targets is refused before the training."""

    reads_soft_targets: ClassVar[bool] = False
    """Compares with the batch's extra "soft_targets", as mixup makes them, where there are any."""

    def __init__(self, config: Any, context: ModelContext) -> None:
        super().__init__()
        self.config = config
        self.context = context

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Runs the model on the batch and returns the summed loss."""

    def prepare_training(self, task_state: Mapping[str, Any], device: torch.device) -> None:
        """Gets what only training needs; called once, before the first update.

        Args:
            task_state: What the task saves: vocabularies, tokenizers.
            device: Where the model is.
        """


CRITERIA: Registry[Criterion] = Registry("criterion", Criterion)
register_criterion = CRITERIA.register
