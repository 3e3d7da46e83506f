"""What a log writer is: takes rows of values as training goes on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class LogWriterConfig(ComponentConfig):
    """Base of every log writer's config."""


class LogWriter(ABC):
    """Base of every log writer. Only the first rank has any.

    Args:
        config: The dataclass that the class was registered with.
        run_dir: Folder of the run, which exists.
        state: What `state_dict` saved in the checkpoint that is resumed; None at a fresh start.
    """

    def __init__(self, config: Any, run_dir: Path, state: Mapping[str, Any] | None) -> None:
        self.config = config
        self.run_dir = run_dir

    @abstractmethod
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        """Takes one row.

        Args:
            event: "train" (every logging.interval updates), "epoch", "valid" or "test".
            num_updates: Updates finished.
            values: By name, prefixed ("train_loss", "valid_ppl").
        """

    def samples(  # noqa: B027 # most writers keep figures only
        self, num_updates: int, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Takes what the model says to some validation examples (see `validation_samples`)."""

    def plan(self, num_done: int, num_planned: int) -> None:  # noqa: B027 # only people ask
        """Is told before the first row what is to come.

        Args:
            num_done: Updates finished, in earlier sessions of the run.
            num_planned: Updates after which the run will end; 0 where that is not known.
        """

    def message(self, line: str) -> None:  # noqa: B027 # most writers keep figures only
        """Takes a line for people."""

    def state_dict(self) -> dict[str, Any]:
        """Returns where the log stands, so that a resumed run cuts off what came later."""
        return {}

    def close(self) -> None:  # noqa: B027 # nothing to close
        """Flushes and closes."""


LOG_WRITERS: Registry[LogWriter] = Registry("log_writer", LogWriter, many=True)
register_log_writer = LOG_WRITERS.register
