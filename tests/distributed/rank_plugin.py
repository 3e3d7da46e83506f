"""A plug-in for tests of ranks: one changes its gradient after all have added them up."""

from dataclasses import dataclass

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
