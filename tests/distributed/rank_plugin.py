"""A plug-in for tests of ranks: some do otherwise than the others, a model counts what it sees."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.models.base import Model, ModelConfig, ModelContext, ModelOutput, register_model
from seqtrain.training.callbacks.base import Callback, CallbackConfig, register_callback
from seqtrain.training.trainer import Trainer


@dataclass(kw_only=True)
class OtherGradientConfig(CallbackConfig):
    """Doubles one parameter's gradient on one rank, as a plug-in with a fault would."""

    rank: int = 1
    """The rank."""
    update: int = 3
    """In which update."""
    parameter: str = "model.decoder.layers.0.fc1.weight"
    """Name of the parameter."""


@register_callback("test_other_gradient", config=OtherGradientConfig)
class OtherGradient(Callback):
    """See OtherGradientConfig."""

    def on_gradients_ready(self, trainer: Trainer) -> None:
        is_here = trainer.collectives.rank == self.config.rank
        if is_here and trainer.num_updates + 1 == self.config.update:
            parameter = trainer.optimizer.parameters[self.config.parameter]
            assert parameter.grad is not None
            parameter.grad *= 2.0


@dataclass(kw_only=True)
class OtherRateConfig(CallbackConfig):
    """Doubles the learning rate on one rank."""

    rank: int = 1
    """The rank."""


@register_callback("test_other_rate", config=OtherRateConfig)
class OtherRate(Callback):
    """See OtherRateConfig."""

    def on_gradients_ready(self, trainer: Trainer) -> None:
        if trainer.collectives.rank == self.config.rank:
            trainer.optimizer.set_lr(2.0 * trainer.lr_scheduler.lr_at(trainer.num_updates + 1))


@dataclass(kw_only=True)
class RunningStatisticsConfig(ModelConfig):
    """A classifier of the first values of a sequence."""


@register_model("test_running_statistics", config=RunningStatisticsConfig)
class RunningStatistics(Model):
    """Its buffers change in training: statistics of batches, and a count of examples."""

    def __init__(self, context: ModelContext) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(context.num_channels)
        self.output_layer = nn.Linear(context.num_channels, context.num_classes)
        self.register_buffer("num_examples", torch.zeros((), dtype=torch.int64))

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "RunningStatistics":
        return cls(context)

    def forward(self, padding_mask: Tensor, values: Tensor) -> ModelOutput:  # type: ignore[override] # names the inputs
        if self.training:
            self.num_examples += len(values)
        features = values[:, 0]
        can_normalise = not self.training or len(values) > 1
        return ModelOutput(self.norm(features) if can_normalise else features, self.output_layer)
