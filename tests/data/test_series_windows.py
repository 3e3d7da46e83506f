import numpy as np
import torch

from seqtrain.data.series.windows import (
    ScaledSeries,
    SeriesWindows,
    WindowSettings,
    carry_forward,
)

VALUES = np.arange(40, dtype=np.float32).reshape(20, 2)
SETTINGS = WindowSettings(look_back=5, horizon=3)


def windows(values: np.ndarray, settings: WindowSettings = SETTINGS) -> SeriesWindows:
    features = np.linspace(-0.5, 0.5, len(values), dtype=np.float32)[:, None]
    times = np.arange(len(values)) * 3600
    count = len(values) - settings.total_rows + 1
    return SeriesWindows(ScaledSeries(values, features, times), np.arange(count), settings)


def test_a_batch_holds_the_same_rows_as_plain_slices() -> None:
    dataset = windows(VALUES)
    assert len(dataset) == 13
    batch = dataset.batch(np.array([12, 0, 7]), epoch=1)
    for row, start in enumerate([12, 0, 7]):
        expected = torch.from_numpy(VALUES[start : start + 8])
        torch.testing.assert_close(batch.inputs["values"][row], expected[:5])
        torch.testing.assert_close(batch.targets[row], expected[5:])
    assert batch.inputs["time_features"].shape == (3, 8, 1)
    assert batch.extras["forecast_time"].tolist() == [17 * 3600, 5 * 3600, 12 * 3600]
    assert batch.num_targets == 3 * 3 * 2
    assert batch.ids.tolist() == [12, 0, 7]


def test_missing_values_do_not_count_and_are_never_seen_in_advance() -> None:
    values = VALUES.copy()
    values[[0, 1, 6], 0] = np.nan
    batch = windows(values).batch(np.array([0, 2]), epoch=1)
    assert batch.inputs["values"][0, :, 0].tolist() == [0.0, 0.0, 4.0, 6.0, 8.0]
    # Row 6 is missing: in the second window it is an input, and row 5 is the last before it.
    assert batch.inputs["values"][1, :, 0].tolist() == [4.0, 6.0, 8.0, 10.0, 10.0]
    assert batch.targets[0, :, 0].isnan().tolist() == [False, True, False]
    assert batch.num_targets == 12 - 1


def test_only_target_columns_count() -> None:
    settings = WindowSettings(look_back=5, horizon=3, is_target=np.array([False, True]))
    batch = windows(VALUES, settings).batch(np.array([4]), epoch=1)
    assert batch.num_targets == 3
    assert batch.targets[0, :, 0].isnan().all()


def test_what_is_hidden_is_a_function_of_seed_epoch_and_index() -> None:
    def settings(seed: int) -> WindowSettings:
        return WindowSettings(look_back=8, horizon=0, hidden_ratio=0.4, seed=(seed, "train"))

    def hidden(seed: int, epoch: int, indices: list[int]) -> torch.Tensor:
        batch = windows(VALUES, settings(seed)).batch(np.array(indices), epoch)
        return batch.targets.isfinite()

    together = hidden(1, 1, [3, 9])
    torch.testing.assert_close(hidden(1, 1, [9, 3])[[1, 0]], together)
    torch.testing.assert_close(hidden(1, 1, [9])[0], together[1])
    for other in (hidden(2, 1, [3, 9]), hidden(1, 2, [3, 9]), hidden(1, 1, [4, 10])):
        assert (other != together).any()


def test_hidden_values_are_the_targets_and_cannot_be_read_from_the_input() -> None:
    settings = WindowSettings(look_back=8, horizon=0, hidden_ratio=0.4)
    batch = windows(VALUES, settings).batch(np.array([2, 5]), epoch=1)
    is_hidden = batch.targets.isfinite()
    assert batch.num_targets == int(is_hidden.sum()) > 0
    whole = torch.stack([torch.from_numpy(VALUES[start : start + 8]) for start in (2, 5)])
    torch.testing.assert_close(batch.targets[is_hidden], whole[is_hidden])
    torch.testing.assert_close(batch.inputs["values"][~is_hidden], whole[~is_hidden])
    assert (batch.inputs["values"][is_hidden] < whole[is_hidden]).all()


def test_an_empty_batch_has_no_targets() -> None:
    batch = windows(VALUES).empty_batch()
    assert batch.num_targets == 0
    assert batch.num_examples == 0
    assert batch.targets.isnan().all()
    assert batch.inputs["values"].shape == (1, 5, 2)


def test_the_fingerprint_knows_values_windows_and_what_is_hidden() -> None:
    changed = VALUES.copy()
    changed[3, 1] += 1
    settings = [
        SETTINGS,
        WindowSettings(look_back=4, horizon=3),
        WindowSettings(look_back=5, horizon=3, seed=(1,)),
    ]
    found = [windows(VALUES, one).fingerprint for one in settings]
    found.append(windows(changed).fingerprint)
    assert len(set(found)) == 4
    assert windows(VALUES).fingerprint == found[0]


def test_values_are_carried_forward_by_column() -> None:
    nan = np.float32(np.nan)
    values = np.array([[nan, 1], [2, nan], [nan, nan], [3, nan]], dtype=np.float32)
    assert carry_forward(values).tolist() == [[0, 1], [2, 1], [2, 1], [3, 1]]
