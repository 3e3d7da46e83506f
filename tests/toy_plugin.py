"""A plug-in for tests of the real command: kills the process, and counts the examples."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from seqtrain.checkpoint.layout import updates_of
from seqtrain.training.callbacks.base import Callback, CallbackConfig, register_callback
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import StepResult


@dataclass(kw_only=True)
class KillConfig(CallbackConfig):
    """Kills the process, as a power cut would, right after a checkpoint is committed."""

    after_update: int = 0
    """Update whose checkpoint is the last; 0 for none."""


@register_callback("test_kill", config=KillConfig)
class Kill(Callback):
    """See KillConfig."""

    def on_checkpoint_saved(self, trainer: Trainer, path: Path) -> None:
        if updates_of(path.name) == self.config.after_update:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(kw_only=True)
class CountConfig(CallbackConfig):
    """Writes the number of examples of every update, over all ranks, to a file."""

    file: str = ""
    """File that lines are added to: update, examples."""


@register_callback("test_count", config=CountConfig)
class Count(Callback):
    """See CountConfig."""

    def on_update_end(self, trainer: Trainer, result: StepResult) -> None:
        if trainer.collectives.rank == 0:
            with Path(self.config.file).open("a") as file:
                file.write(f"{trainer.num_updates} {int(result.counts.num_examples)}\n")
