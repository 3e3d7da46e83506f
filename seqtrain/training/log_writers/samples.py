"""samples.jsonl in the run's folder: what the model says to a few validation examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer
from seqtrain.training.log_writers.row_file import RowFile

FILE_NAME = "samples.jsonl"


@dataclass(kw_only=True)
class SamplesConfig(LogWriterConfig):
    """Outputs for `logging.samples` validation examples in RUN/samples.jsonl at each validation."""


@register_log_writer("samples", config=SamplesConfig)
class SamplesWriter(LogWriter):
    """Writes {"num_updates", "split", "id", "output" ...} a line, and no figures."""

    def __init__(
        self, config: SamplesConfig, run_dir: Path, state: Mapping[str, Any] | None
    ) -> None:
        super().__init__(config, run_dir, state)
        self._file = RowFile(run_dir / FILE_NAME, state)

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        """Leaves figures to others."""

    @override
    def samples(self, num_updates: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._file.write({"num_updates": num_updates} | dict(row))

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._file.state_dict()

    @override
    def close(self) -> None:
        self._file.close()
