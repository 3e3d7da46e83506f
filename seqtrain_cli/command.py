"""What a command is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        name: "train" for seqtrain-train; also the name of its Hydra config.
        help: What `--help` prints.
        run: Called with the composed configuration as plain nested values. What it returns goes
            to a Hydra sweeper; it ends with SystemExit to set an exit code.
        check: Raises ConfigError for a configuration that cannot work, and does nothing else. A
            sweep checks its trials with it before the first one, and tells the best at the end.
    """

    name: str
    help: str
    run: Callable[[dict[str, Any]], float | None]
    check: Callable[[dict[str, Any]], object] | None = None

    @property
    def program(self) -> str:
        """Name that people type."""
        return f"seqtrain-{self.name}"
