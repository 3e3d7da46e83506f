"""What a callback is: observes training, and may ask the loop for something by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from seqtrain.criteria.base import LossOutput
from seqtrain.registry import ComponentConfig, Registry
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import StepResult


@dataclass(kw_only=True)
class CallbackConfig(ComponentConfig):
    """Base of every callback's config."""


class Request(Enum):
    """What a callback may ask for. The loop grants it at the end of the update."""

    STOP = "stop"
    VALIDATE = "validate"
    SAVE = "save"


Requests = Request | None


class Callback:
    """Base of every callback: override the events you need. All ranks run it alike."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def on_train_start(self, trainer: Trainer) -> Requests:
        """After a checkpoint, if any, was loaded."""

    def on_train_end(self, trainer: Trainer) -> Requests:
        """After the last update was validated and saved."""

    def on_epoch_start(self, trainer: Trainer, epoch: int) -> Requests:
        """Before the first update of an epoch, or of the rest of one after a resume."""

    def on_epoch_end(self, trainer: Trainer, epoch: int) -> Requests:
        """After the last update of an epoch."""

    def on_update_start(self, trainer: Trainer, num_updates: int) -> Requests:
        """Before the update that follows `num_updates` finished ones."""

    def on_loss_computed(self, trainer: Trainer, loss: LossOutput) -> Requests:
        """After the forward pass of a micro-batch, before its backward pass."""

    def on_gradients_ready(self, trainer: Trainer) -> Requests:
        """After the gradients were summed, normalised and clipped, before they are applied."""

    def on_update_end(self, trainer: Trainer, result: StepResult) -> Requests:
        """After an update was applied or skipped."""

    def on_validation_start(self, trainer: Trainer, split: str) -> Requests:
        """Before a split is validated."""

    def on_validation_end(
        self, trainer: Trainer, split: str, values: Mapping[str, float]
    ) -> Requests:
        """After a split was validated; values are unprefixed."""

    def on_test_start(self, trainer: Trainer) -> Requests:
        """Before the best model is tested."""

    def on_test_end(self, trainer: Trainer, values: Mapping[str, float]) -> Requests:
        """After the best model was tested."""

    def on_checkpoint_saved(self, trainer: Trainer, path: Path) -> Requests:
        """After a checkpoint was committed."""

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values and tensors to save."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""


CALLBACKS: Registry[Callback] = Registry("callback", Callback, many=True)
register_callback = CALLBACKS.register
