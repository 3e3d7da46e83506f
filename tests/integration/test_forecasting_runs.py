"""Whole runs of the forecasting task."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_run import final_state, history, run_forked
from toy_series import series_config, write_series_csv

from seqtrain.pipeline import load, train
from seqtrain.training.resume import first_difference
from seqtrain_cli import evaluate, generate, preprocess
from seqtrain_cli.entry import run_command
from seqtrain_cli.train import COMMAND

ROOT = Path(__file__).parents[2]
# A file beside the checkout, or wherever the variable says; it is not in the project.
ETTH1 = Path(os.environ.get("SEQTRAIN_ETTH1", ROOT.parent / "shared/data/ett/ETTh1.csv"))
Run = Callable[..., Any]
QUANTILES = [0.1, 0.5, 0.9]
MODELS: dict[str, dict[str, Any]] = {
    "nlinear": {},
    "dlinear": {"kernel_size": 5},
    "patch_tst": {"dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 1, "dropout": 0.1},
    "itransformer": {"dim": 32, "num_heads": 2, "ffn_dim": 32, "num_layers": 1},
    "series_transformer": {"dim": 32, "num_heads": 2, "ffn_dim": 32, "num_layers": 1},
    "series_lstm": {"dim": 32},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series_csv(tmp_path_factory.mktemp("series") / "series.csv")


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series_csv(tmp_path_factory.mktemp("gaps") / "series.csv", missing=0.1)


def learning_config(file: Path, run_dir: Path, model: dict[str, Any]) -> dict[str, Any]:
    return series_config(
        file,
        run_dir,
        {"horizon": 12, "time_features": ["time_of_day"]},
        model=model,
        optimizer={"lr": 0.02},
        lr_scheduler={"name": "cosine"},
        optimization={"max_update": 40},
    )


@pytest.fixture(scope="module")
def naive_mse(file: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    config = learning_config(file, tmp_path_factory.mktemp("naive"), {"name": "repeat_last"})
    return train(config | {"optimization": {"max_update": 1}}).test["mse"]


@pytest.mark.parametrize("name", MODELS)
def test_forty_updates_halve_the_error_of_the_naive_forecast(
    file: Path, tmp_path: Path, naive_mse: float, name: str
) -> None:
    found = train(learning_config(file, tmp_path, {"name": name} | MODELS[name])).test
    assert found["mse"] < naive_mse / 2
    assert found["loss"] == pytest.approx(found["mse"], rel=1e-6)


def test_a_run_is_resumed_exactly_with_hidden_and_missing_values(
    gaps: Path, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "task": {"hidden_ratio": 0.3, "time_features": ["day_of_week"]},
        "model": {"name": "patch_tst"} | MODELS["patch_tst"] | {"patch_size": 4, "stride": 2},
    }
    straight, snapshots = tmp_path / "straight", tmp_path / "snapshots"
    config = series_config(
        gaps,
        straight,
        checkpoint={"save_interval_updates": 7},
        validation={"validate_interval_updates": 0},
        callback={"test_snapshot": {"into": str(snapshots)}},
        **sections,
    )
    assert run_forked(lambda: train(config)) == 0
    updates = sorted(int(path.name) for path in snapshots.iterdir())
    assert updates == [7, 12]
    for update in updates:
        run_dir = snapshots / str(update)
        resumed = series_config(
            gaps, run_dir, validation={"validate_interval_updates": 0}, **sections
        )
        assert run_forked(lambda resumed=resumed: train(resumed)) == 0
        assert first_difference(final_state(straight), final_state(run_dir), "state") == ""
        assert history(run_dir) == history(straight), f"killed after update {update}"


def test_the_last_update_is_validated_saved_and_tested(file: Path, tmp_path: Path) -> None:
    config = series_config(
        file,
        tmp_path,
        {"report_horizons": [1, 6], "original_units": True},
        optimization={"max_update": 8},
        validation={"validate_interval": 0, "validate_interval_updates": 4},
        checkpoint={"save_interval": 0, "save_interval_updates": 4},
    )
    result = train(config)
    validated = [row["num_updates"] for row in history(tmp_path) if row["event"] == "valid"]
    assert validated == [4, 8]
    assert (tmp_path / "checkpoints/step-0000000008").is_dir()
    values = json.loads((tmp_path / "test_metrics.json").read_text())
    named = {"test_loss", "test_mae", "test_rmse", "test_mape", "test_wape", "test_smape"}
    named |= {"test_mase", "test_r2", "test_correlation", "test_mae_h6", "test_original_mse_h1"}
    assert named <= values.keys()
    assert values["test_mae"] == result.test["mae"]


def test_the_naive_forecast_is_tested_by_one_update(file: Path, tmp_path: Path) -> None:
    config = series_config(
        file, tmp_path, model={"name": "repeat_last"}, optimization={"max_update": 1}
    )
    found = train(config).test
    table = np.genfromtxt(file, delimiter=",", skip_header=1)[:, 1:]
    scaled = (table - table[:240].mean(axis=0)) / table[:240].std(axis=0)
    starts = range(320 - 24, 400 - 24 - 6 + 1)
    errors = np.stack([scaled[s + 24 : s + 30] - scaled[s + 23] for s in starts])
    assert found["mse"] == pytest.approx(float((errors**2).mean()), rel=1e-5)
    assert found["mae"] == pytest.approx(float(np.abs(errors).mean()), rel=1e-5)


def test_forecasts_of_a_split_and_of_rows_by_hand_are_the_same(file: Path, tmp_path: Path) -> None:
    train(
        series_config(
            file,
            tmp_path,
            {"quantiles": QUANTILES},
            criterion={"loss": "quantile", "quantiles": QUANTILES},
            optimization={"max_update": 2},
        )
    )
    pipeline = load(tmp_path, device="cpu")
    (future,) = dict(pipeline.predict_split("future")).values()
    assert future["time"] == "2020-01-17T16:00:00"
    assert future["actual"]["a"] == [None] * 6
    table = np.genfromtxt(file, delimiter=",", skip_header=1)[:, 1:]
    (given,) = pipeline.forecast([table[-30:]])
    assert given == future["forecast"]
    assert list(future["quantiles"]) == ["0.1", "0.5", "0.9"]


def test_the_commands_prepare_train_evaluate_and_write_forecasts(
    file: Path, tmp_path: Path, run: Run
) -> None:
    data, run_dir, lines = tmp_path / "data", tmp_path / "run", tmp_path / "forecasts.jsonl"
    prepared = run(preprocess.COMMAND, "task=forecasting", f"task.file={file}", f"out={data}")
    assert prepared.exit_code == 0, prepared.error
    assert "400 rows of 2 columns: a, b" in prepared.out
    trained = run(
        COMMAND,
        *("task=forecasting", f"task.data={data}", "task.look_back=24", "task.horizon=6"),
        *("model=nlinear", "criterion=regression", "lr_scheduler=fixed", "device=cpu"),
        *("optimization.max_update=3", f"run_dir={run_dir}", "log_writer=jsonl"),
    )
    assert trained.exit_code == 0, trained.error
    report = json.loads(run(evaluate.COMMAND, f"checkpoint={run_dir}", "split=test").out)
    tested = json.loads((run_dir / "test_metrics.json").read_text())
    assert report["test_mse"] == pytest.approx(tested["test_mse"], rel=1e-6)
    words = (f"checkpoint={run_dir}", "split=test", f"output={lines}")
    assert run(generate.COMMAND, *words).exit_code == 0
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(75))
    errors = [
        (row["forecast"][name][step] - row["actual"][name][step]) / deviation
        for row in rows
        for name, deviation in zip(("a", "b"), deviations(file), strict=True)
        for step in range(6)
    ]
    assert np.square(errors).mean() == pytest.approx(tested["test_mse"], rel=1e-4)


def deviations(file: Path) -> list[float]:
    """Returns the standard deviation of each column in the training rows, 0.7 of all."""
    table = np.genfromtxt(file, delimiter=",", skip_header=1)[:280, 1:]
    return [float(value) for value in table.std(axis=0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "mse", "mae", "tolerance"),
    [("repeat_last", 1.295, 0.713, 0.005), ("nlinear", 0.374, 0.394, 0.02)],
)
def test_etth1_gives_the_published_errors(
    tmp_path: Path, model: str, mse: float, mae: float, tolerance: float
) -> None:
    if not ETTH1.is_file():
        pytest.skip(f"ETTh1.csv is not at {ETTH1}; SEQTRAIN_ETTH1 names another file")
    words = [f"experiment=etth1_{model}", "task.data=", f"task.file={ETTH1}", f"run_dir={tmp_path}"]
    assert run_command(COMMAND, words) == 0
    values = json.loads((tmp_path / "test_metrics.json").read_text())
    assert values["test_mse"] == pytest.approx(mse, rel=tolerance)
    assert values["test_mae"] == pytest.approx(mae, rel=tolerance)
