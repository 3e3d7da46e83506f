"""The writer for MLflow, read back from a folder of files by MLflow itself."""

import json
import math
from pathlib import Path

import pytest

from seqtrain.errors import CheckpointError, MachineError

pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'seqtrain[mlflow]'")

from mlflow.tracking import MlflowClient

from seqtrain.training.log_writers.mlflow import MlflowConfig, MlflowWriter


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)


def test_rows_and_settings_are_in_its_store_and_a_resumed_run_continues(tmp_path: Path) -> None:
    run_dir = tmp_path / "my_run"
    run_dir.mkdir()
    config = {"seed": 3, "model": {"name": "lstm"}, "plugins": ["x" * 600]}
    config["many"] = {f"key{number}": number for number in range(150)}
    (run_dir / "config.json").write_text(json.dumps(config))
    first = MlflowWriter(MlflowConfig(), run_dir, None)
    first.write("train", 10, {"train_loss": 0.5, "train_ppl": math.inf, "note": "text"})
    first.write("valid", 10, {"valid_bleu": 20})
    state = json.loads(json.dumps(first.state_dict()))
    first.close()
    second = MlflowWriter(MlflowConfig(), run_dir, state)
    second.write("train", 20, {"train_loss": 0.25})
    second.close()

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("seqtrain")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("my_run", "FINISHED")
    assert run.data.metrics == {"train/loss": 0.25, "valid/bleu": 20.0}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(10, 0.5), (20, 0.25)]
    assert len(run.data.params) == 153
    assert (run.data.params["model.name"], run.data.params["many.key149"]) == ("lstm", "149")


def test_what_it_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="name of the MLflow run is '../x'"):
        MlflowWriter(MlflowConfig(), tmp_path, {"run_id": "../x"})
    (tmp_path / "file").touch()
    config = MlflowConfig(uri=str(tmp_path / "file"))
    with pytest.raises(
        MachineError, match=r"cannot begin at file://.* Set log_writer\.mlflow\.uri"
    ):
        MlflowWriter(config, tmp_path, None)
