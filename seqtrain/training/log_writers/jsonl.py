"""metrics.jsonl in the run's folder: one JSON object a line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer
from seqtrain.training.log_writers.row_file import RowFile

FILE_NAME = "metrics.jsonl"


@dataclass(kw_only=True)
class JsonlConfig(LogWriterConfig):
    """All rows in RUN/metrics.jsonl, for scripts and plots; a resumed run continues the file."""


@register_log_writer("jsonl", config=JsonlConfig)
class JsonlWriter(LogWriter):
    """Writes {"event", "num_updates", values ...} a line; what is not finite is null.

    Each row is in the file when `write` returns, whole or not at all. A resumed run cuts off the
    rows that were written after its checkpoint; a fresh start empties the file.
    """

    def __init__(self, config: JsonlConfig, run_dir: Path, state: Mapping[str, Any] | None) -> None:
        super().__init__(config, run_dir, state)
        self._file = RowFile(run_dir / FILE_NAME, state)

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        self._file.write({"event": event, "num_updates": num_updates} | dict(values))

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._file.state_dict()

    @override
    def close(self) -> None:
        self._file.close()
