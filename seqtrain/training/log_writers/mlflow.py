"""MLflow: a tracking server, or a folder of files."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.errors import CheckpointError, MachineError
from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer
from seqtrain.training.log_writers.row import shortened
from seqtrain.training.log_writers.run_settings import run_settings

_MOST_PARAMETERS = 100
"""Of one request."""
_LONGEST_VALUE = 500
"""Characters of a parameter's value that every kind of store takes."""


@dataclass(kw_only=True)
class MlflowConfig(LogWriterConfig):
    """Rows and settings for MLflow; needs `pip install 'seqtrain[mlflow]'`."""

    uri: str = ""
    """Address of the tracking server, or a folder; empty for what the variable
    MLFLOW_TRACKING_URI says, else the folder `mlruns` here."""
    experiment: str = "seqtrain"
    """Experiment that the run belongs to; made if there is none."""
    run_name: str = ""
    """Name of the run; empty for the name of its folder."""


@register_log_writer("mlflow", config=MlflowConfig)
class MlflowWriter(LogWriter):
    """Writes each finite number as the metric EVENT/NAME; a resumed run continues its run there."""

    def __init__(
        self, config: MlflowConfig, run_dir: Path, state: Mapping[str, Any] | None
    ) -> None:
        super().__init__(config, run_dir, state)
        try:
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MachineError(
                "log_writer=mlflow needs a package: pip install 'seqtrain[mlflow]', or leave this "
                "writer out."
            ) from error
        self._metric, self._parameter, self._error = Metric, Param, MlflowException
        uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or "mlruns"
        if "://" not in uri or uri.startswith("file:"):
            # MLflow asks for this since it recommends a database; files need no further package.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = Path(uri.removeprefix("file://")).resolve().as_uri()
        name = config.run_name or run_dir.resolve().name
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._run_id = _saved_id(state or {}) or self._begin(config.experiment, name)
            self._client.update_run(self._run_id, status="RUNNING")
        except (MlflowException, OSError) as error:
            raise MachineError(
                f"log_writer=mlflow cannot begin at {uri}: {_first_line(error)} Set "
                "log_writer.mlflow.uri, or leave this writer out."
            ) from error
        self._is_described = bool(state)

    def _begin(self, experiment: str, run_name: str) -> str:
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self._client.create_experiment(experiment)
        return str(self._client.create_run(number, run_name=run_name).info.run_id)

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._metric(f"{event}/{name}", float(value), now, num_updates)
            for name, value in shortened(event, values).items()
            if not isinstance(value, str) and math.isfinite(value)
        ]
        try:
            if not self._is_described:
                self._describe()
            self._client.log_batch(self._run_id, metrics=metrics)
        except self._error as error:
            raise OSError(_first_line(error)) from error  # switches this writer off

    def _describe(self) -> None:
        parameters = [
            self._parameter(key, str(value)[:_LONGEST_VALUE])
            for key, value in run_settings(self.run_dir).items()
        ]
        for start in range(0, len(parameters), _MOST_PARAMETERS):
            part = parameters[start : start + _MOST_PARAMETERS]
            self._client.log_batch(self._run_id, params=part)
        self._is_described = True

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self._run_id}

    @override
    def close(self) -> None:
        try:
            self._client.set_terminated(self._run_id)
        except self._error as error:
            raise OSError(_first_line(error)) from error


def _saved_id(state: Mapping[str, Any]) -> str | None:
    saved = state.get("run_id")
    if saved is not None and not (isinstance(saved, str) and saved.isalnum()):
        raise CheckpointError(f"The checkpoint's name of the MLflow run is {saved!r}.")
    return saved


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
