from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqtrain.data.series.data import SeriesData, SeriesSettings
from seqtrain.data.series.folder import (
    TIMES,
    VALUES,
    is_series_folder,
    open_series,
    write_series,
)
from seqtrain.data.series.source import SeriesTable
from seqtrain.errors import ConfigError, DataError
from seqtrain.tasks.forecasting import ForecastingConfig

RANDOM = np.random.default_rng(0)
TABLE = SeriesTable(
    RANDOM.normal(size=(17420, 2)).cumsum(axis=0), ["a", "b"], np.arange(17420) * 3600
)


def build(table: SeriesTable = TABLE, **options: Any) -> tuple[SeriesSettings, SeriesData]:
    return SeriesData.build(ForecastingConfig(**options), table, seed=1)


@pytest.mark.parametrize("horizon", [96, 720])
def test_the_ett_protocol_has_the_windows_of_the_literature(horizon: int) -> None:
    settings, data = build(split_preset="ett_hourly", look_back=336, horizon=horizon)
    assert len(data.windows("train")) == 8640 - 336 - horizon + 1
    for split in ("valid", "test"):
        assert len(data.windows(split)) == 2881 - horizon
    train = TABLE.values[:8640]
    np.testing.assert_allclose(settings.scaler.shift, train.mean(axis=0))
    np.testing.assert_allclose(settings.scaler.scale, train.std(axis=0))
    scaled = (TABLE.values - train.mean(axis=0)) / train.std(axis=0)
    first = data.windows("test").batch(np.array([0]), 1)
    expected = torch.from_numpy(scaled.astype(np.float32))
    torch.testing.assert_close(first.inputs["values"][0], expected[11520 - 336 : 11520])
    torch.testing.assert_close(first.targets[0], expected[11520 : 11520 + horizon])
    last = data.windows("test").batch(np.array([2880 - horizon]), 1)
    torch.testing.assert_close(last.targets[0], expected[14400 - horizon : 14400])


def test_without_overlap_the_windows_of_a_split_keep_to_its_rows() -> None:
    _, data = build(split_preset="ett_hourly", split_overlap=False)
    assert len(data.windows("test")) == 2881 - 336 - 96
    first = data.windows("test").batch(np.array([0]), 1)
    assert first.extras["forecast_time"].tolist() == [(11520 + 336) * 3600]


def test_rows_after_the_training_change_neither_scaler_nor_baseline() -> None:
    values = TABLE.values.copy()
    values[8640:] *= 100.0
    changed = SeriesTable(values, TABLE.columns, TABLE.times)
    options = {"split_preset": "ett_hourly", "season": 24}
    assert build(**options)[0].state_dict() == build(changed, **options)[0].state_dict()


def test_the_future_is_one_window_after_the_last_row() -> None:
    _, data = build(split_preset="ett_hourly", time_features=["time_of_day"])
    assert data.splits() == ["train", "valid", "test", "future"]
    batch = data.windows("future").batch(np.array([0]), 1)
    assert batch.extras["forecast_time"].tolist() == [17420 * 3600]
    assert batch.targets.isnan().all()
    assert batch.num_targets == 0
    hours = (np.arange(17420 - 336, 17420 + 96) % 24) / 24 - 0.5
    torch.testing.assert_close(
        batch.inputs["time_features"][0, :, 0], torch.from_numpy(hours.astype(np.float32))
    )


def test_rows_given_by_hand_are_the_same_windows() -> None:
    settings, data = build(split_preset="ett_hourly", time_features=["time_of_day"])
    config = ForecastingConfig(split_preset="ett_hourly", time_features=["time_of_day"])
    rows = [
        {"values": TABLE.values[-end - 400 : -end].tolist(), "time": str(time)}
        for end in (1, 50)
        for time in [np.datetime64((17419 - end) * 3600, "s")]
    ]
    found = SeriesData.from_rows(config, settings, rows).batch(np.array([1, 0]), 1)
    values = (TABLE.values - settings.scaler.shift) / settings.scaler.scale
    expected = torch.from_numpy(values.astype(np.float32))
    torch.testing.assert_close(found.inputs["values"][0], expected[-50 - 336 : -50])
    torch.testing.assert_close(found.inputs["values"][1], expected[-1 - 336 : -1])
    assert found.extras["forecast_time"].tolist() == [(17420 - 50) * 3600, (17420 - 1) * 3600]
    assert data.windows("future").empty_batch().inputs.keys() == found.inputs.keys()


def test_null_values_count_neither_in_the_scaler_nor_as_targets() -> None:
    values = TABLE.values.copy()
    values[::7, 0] = 0.0
    settings, data = build(SeriesTable(values, ["a", "b"], None), null_value=0.0)
    kept = values[: int(17420 * 0.7), 0]
    np.testing.assert_allclose(settings.scaler.shift[0], kept[kept != 0].mean())
    batch = data.windows("train").batch(np.arange(4), 1)
    assert batch.num_targets == batch.targets.numel() - int(batch.targets.isnan().sum())
    assert batch.targets[:, :, 0].isnan().any()


@pytest.mark.parametrize("kind", ["standard", "min_max", "none"])
def test_scalers_can_be_undone_and_saved(kind: str) -> None:
    settings, _ = build(scaler=kind)
    scaler = SeriesSettings.from_state(settings.state_dict()).scaler
    scaled = scaler.transform(TABLE.values)
    np.testing.assert_allclose(scaler.inverse(scaled), TABLE.values, atol=1e-9)
    if kind == "min_max":
        train = scaled[: int(17420 * 0.7)]
        np.testing.assert_allclose([train.min(axis=0), train.max(axis=0)], [[0, 0], [1, 1]])


def test_settings_that_cannot_be_name_their_key() -> None:
    no_times = SeriesTable(TABLE.values, ["a", "b"], None)
    with pytest.raises(ConfigError, match="task.time_features needs the times"):
        build(no_times, time_features=["time_of_day"])
    with pytest.raises(ConfigError, match="task.time_features holds 'hour'"):
        build(time_features=["hour"])
    with pytest.raises(ConfigError, match="task.scaler must be one of"):
        build(scaler="robust")
    with pytest.raises(ConfigError, match="task.target_columns names 'c'"):
        build(target_columns=["c"])[1].windows("train")
    with pytest.raises(DataError, match="fewer than a window has"):
        build(look_back=17000)
    empty = TABLE.values.copy()
    empty[:13000, 1] = np.nan
    with pytest.raises(DataError, match="column b has no value in the training rows"):
        build(SeriesTable(empty, ["a", "b"], None))


def test_a_prepared_folder_holds_the_series_and_notices_damage(tmp_path: Path) -> None:

    lines = write_series(TABLE, "somewhere.csv", tmp_path / "data")
    assert lines[0] == "17420 rows of 2 columns: a, b"
    assert is_series_folder(tmp_path / "data")
    assert not is_series_folder(tmp_path)
    opened = open_series(tmp_path / "data")
    np.testing.assert_array_equal(opened.values, TABLE.values)
    np.testing.assert_array_equal(opened.times, TABLE.times)
    for name in (VALUES, TIMES):
        path = tmp_path / "data" / name
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: its sha256 is"):
            open_series(tmp_path / "data")
        content[-1] ^= 1
        path.write_bytes(content)
    (tmp_path / "data" / VALUES).unlink()
    with pytest.raises(DataError, match=f"{VALUES}: cannot be read"):
        open_series(tmp_path / "data")
