"""A plug-in for tests of kills: notes what a run does, and kills it at chosen places."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from seqtrain.criteria.base import LossOutput
from seqtrain.training.callbacks.base import (
    Callback,
    CallbackConfig,
    Request,
    Requests,
    register_callback,
)
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import StepResult


@dataclass(kw_only=True)
class JournalConfig(CallbackConfig):
    """Adds a line to a file at each start, update and commit; a line is there whole or not."""

    file: str = ""
    """The file."""


@register_callback("test_journal", config=JournalConfig)
class Journal(Callback):
    """See JournalConfig."""

    def on_train_start(self, trainer: Trainer) -> None:
        self._note(trainer, "start", trainer.num_updates)

    def on_update_end(self, trainer: Trainer, result: StepResult) -> None:
        self._note(trainer, "update", trainer.num_updates)

    def on_checkpoint_saved(self, trainer: Trainer, path: Path) -> None:
        self._note(trainer, "saved", int(path.name.removeprefix("step-")))

    def _note(self, trainer: Trainer, what: str, number: int) -> None:
        if trainer.collectives.rank == 0:
            file = os.open(self.config.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(file, f"{what} {number}\n".encode())
            os.close(file)


@dataclass(kw_only=True)
class KillAtConfig(CallbackConfig):
    """Ends the process of a rank at given places, once at each."""

    places: list[str] = field(default_factory=list)
    """EVENT-UPDATE-RANK, the event one of loss, gradients, update, saved."""
    done: str = ""
    """Folder that remembers the places where it was done."""
    number: int = int(signal.SIGKILL)
    """The signal."""


@register_callback("test_kill_at", config=KillAtConfig)
class KillAt(Callback):
    """See KillAtConfig."""

    def on_loss_computed(self, trainer: Trainer, loss: LossOutput) -> None:
        self._kill(trainer, "loss")

    def on_gradients_ready(self, trainer: Trainer) -> None:
        self._kill(trainer, "gradients")

    def on_update_end(self, trainer: Trainer, result: StepResult) -> None:
        self._kill(trainer, "update")

    def on_checkpoint_saved(self, trainer: Trainer, path: Path) -> None:
        self._kill(trainer, "saved")

    def _kill(self, trainer: Trainer, event: str) -> None:
        place = f"{event}-{trainer.num_updates}-{trainer.collectives.rank}"
        marker = Path(self.config.done) / place
        if place in self.config.places and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), self.config.number)


@dataclass(kw_only=True)
class FlipConfig(CallbackConfig):
    """Changes one bit of one parameter on one rank, as a faulty machine would."""

    rank: int = 1
    """The rank."""
    after_update: int = 3
    """When."""


@register_callback("test_flip", config=FlipConfig)
class Flip(Callback):
    """See FlipConfig."""

    def on_update_end(self, trainer: Trainer, result: StepResult) -> None:
        is_here = trainer.collectives.rank == self.config.rank
        if is_here and trainer.num_updates == self.config.after_update:
            parameter = next(iter(trainer.optimizer.parameters.values()))
            view = parameter.detach().reshape(-1).numpy().view("u1")
            view[0] ^= 1


@dataclass(kw_only=True)
class AskConfig(CallbackConfig):
    """Asks on one rank alone for the end of the run."""

    rank: int = 1
    """The rank."""
    after_update: int = 3
    """When."""


@register_callback("test_ask", config=AskConfig)
class Ask(Callback):
    """See AskConfig."""

    def on_update_end(self, trainer: Trainer, result: StepResult) -> Requests:
        is_here = trainer.collectives.rank == self.config.rank
        is_now = trainer.num_updates == self.config.after_update
        return Request.STOP if is_here and is_now else None
