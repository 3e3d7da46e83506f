import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_series import write_series_csv

from seqtrain.errors import ConfigError, DataError
from seqtrain.metrics import Metrics
from seqtrain.models.base import ModelOutput
from seqtrain.tasks.base import TASKS
from seqtrain.tasks.forecasting import ForecastingConfig, ForecastingTask

HORIZON = 6


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series_csv(tmp_path_factory.mktemp("series") / "series.csv", missing=0.02)


def load(file: Path, **options: Any) -> ForecastingTask:
    config = ForecastingConfig(
        name="forecasting", file=str(file), look_back=24, horizon=HORIZON, **options
    )
    return ForecastingTask.load(config, seed=1)


def output(predictions: torch.Tensor) -> ModelOutput:
    return ModelOutput(predictions, lambda values: values)


def test_predictions_are_in_the_units_of_the_file_with_times_and_what_came(file: Path) -> None:
    task = load(file)
    batch = task.dataset("test").batch(np.array([3, 0]), 1)
    found = task.predict(output(batch.targets.nan_to_num(0.0)), batch)
    assert len(found) == 2
    first_row = int(400 * 0.8) + 3
    table = [line.split(",") for line in file.read_text().splitlines()[1:]]
    for name, column in (("a", 1), ("b", 2)):
        came = [row[column] for row in table[first_row : first_row + HORIZON]]
        for value, forecast, text in zip(
            found[0]["actual"][name], found[0]["forecast"][name], came, strict=True
        ):
            if text:
                assert value == pytest.approx(float(text), abs=1e-4)
                assert forecast == value
            else:
                assert value is None
        assert len(found[0]["history"][name]) == HORIZON
    assert found[0]["time"] == table[first_row][0].replace(" ", "T")
    assert found[0]["row_seconds"] == 3600
    json.dumps(found, allow_nan=False)


def test_quantiles_are_predicted_by_level_and_the_middle_one_is_the_forecast(file: Path) -> None:
    task = load(file, quantiles=[0.1, 0.5, 0.9])
    assert task.context.num_quantiles == 3
    batch = task.dataset("test").batch(np.arange(2), 1)
    middle = batch.targets.nan_to_num(0.0)
    quantiles = torch.stack([middle - 1, middle, middle + 1], dim=-1)
    row = task.predict(output(quantiles), batch)[0]
    assert list(row["quantiles"]) == ["0.1", "0.5", "0.9"]
    assert row["quantiles"]["0.5"] == row["forecast"]
    scale = task.settings.scaler.scale[0]
    low, high = row["quantiles"]["0.1"]["a"][0], row["quantiles"]["0.9"]["a"][0]
    assert high - low == pytest.approx(2 * scale, rel=1e-5)
    values = task.measure(output(quantiles), batch).compute()
    assert values["mae"] == pytest.approx(0.0, abs=1e-6)
    assert values["coverage"] == 100.0


def test_single_steps_and_original_units_are_reported_on_request(file: Path) -> None:
    task = load(file, report_horizons=[1, 6], original_units=True)
    batch = task.dataset("valid").batch(np.arange(5), 1)
    values = task.measure(output(batch.targets.nan_to_num(0.0) + 0.5), batch).compute()
    names = {"mae", "mae_h1", "mae_h6", "original_mae", "original_mae_h6", "r2_h1"}
    assert names <= values.keys()
    assert values["mae_h6"] == pytest.approx(0.5)
    by_channel = 0.5 * task.settings.scaler.scale
    counts = batch.targets.isfinite().sum(dim=(0, 1)).numpy()
    expected = float((by_channel * counts).sum() / counts.sum())
    assert values["original_mae"] == pytest.approx(expected, rel=1e-5)


def test_mase_is_relative_to_the_naive_forecast_of_the_training_rows(file: Path) -> None:
    task = load(file, season=12, scaler="none")
    table = np.genfromtxt(file, delimiter=",", skip_header=1)[: int(400 * 0.7), 1:]
    errors = np.abs(table[12:] - table[:-12])
    np.testing.assert_allclose(task.settings.naive_errors, np.nanmean(errors, axis=0), rtol=1e-9)


def test_an_empty_batch_gives_the_same_names_and_adds_nothing(file: Path) -> None:
    task = load(file, report_horizons=[2], original_units=True)
    dataset = task.dataset("valid")
    empty, full = dataset.empty_batch(), dataset.batch(np.arange(5), 1)
    nothing = task.measure(output(torch.zeros(1, HORIZON, 2)), empty)
    some = task.measure(output(torch.randn(5, HORIZON, 2)), full)
    assert list(nothing) == list(some)
    merged = Metrics()
    merged.merge(some)
    merged.merge(nothing)
    assert merged.compute() == some.compute()
    assert math.isnan(nothing.compute()["mae"])


def test_a_task_is_rebuilt_from_what_a_checkpoint_holds(file: Path) -> None:
    task = load(file, time_features=["time_of_day"])
    state = json.loads(json.dumps(task.state_dict()))
    again = ForecastingTask.from_state(task.config, state)
    assert again.context == task.context
    assert again.state_dict() == task.state_dict()
    assert again.splits() == []
    rows = [{"values": [[1.0, None]] * 24, "time": "2020-01-02 00:00"}]
    batch = again.prediction_dataset(rows).batch(np.array([0]), 1)
    assert batch.inputs["time_features"].shape == (1, 24 + HORIZON, 1)
    row = again.predict(output(torch.zeros(1, HORIZON, 2)), batch)[0]
    assert row["time"] == "2020-01-02T01:00:00"
    assert row["forecast"]["a"][0] == pytest.approx(task.settings.scaler.shift[0], rel=1e-6)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"values": [[1.0, 2.0]] * 23}, r"row 1: values \[23, 2\], expected are at least 24 rows"),
        ({"values": [[1.0]] * 24}, r"expected are at least 24 rows of 2: a, b"),
        ({"value": []}, "row 1: not an object"),
        ({"values": [["x", 1.0]]}, "row 1: not an object"),
        ({"values": [[1.0, 2.0]] * 24, "time": "soon"}, "row 1: 'soon' is no date"),
    ],
)
def test_a_window_that_cannot_be_read_is_named(file: Path, row: Any, expected: str) -> None:
    good = [[0.0, 0.0]] * 30
    with pytest.raises(DataError, match=expected):
        load(file).prediction_dataset([good, row])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"look_back": 0}, "task.look_back must be at least 1"),
        ({"hidden_ratio": 1.0}, "task.hidden_ratio must be at least 0 and below 1"),
        ({"quantiles": [0.5, 0.1]}, "task.quantiles must rise between 0 and 1"),
        ({"horizon": 4, "report_horizons": [5]}, "task.report_horizons must be from 1 to 4"),
    ],
)
def test_options_that_cannot_be_name_their_key(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        TASKS.parse({"name": "forecasting"} | options)


def test_data_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match="task=forecasting has no data"):
        ForecastingTask.load(ForecastingConfig(), seed=1)
    with pytest.raises(ConfigError, match="task.file is not set"):
        ForecastingTask.prepare(ForecastingConfig(), Path("out"), 1)
    with pytest.raises(DataError, match="no split 'dev'"):
        load(file).dataset("dev")
    with pytest.raises(DataError, match="no column 'c'"):
        load(file, columns=["a", "c"])
