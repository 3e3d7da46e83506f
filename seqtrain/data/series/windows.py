"""Windows of a series: what is known, and what is to be forecast or filled in."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain import rng
from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
FORECAST_TIME = "forecast_time"
"""Name in `Batch.extras` of the time of the first target row, seconds since 1970, int64 [batch]."""


@dataclass(frozen=True)
class ScaledSeries:
    """What windows are cut from.

    Args:
        values: float32 [time, channels], scaled; nan where a value is missing.
        features: Features of the time of each row, float32 [time, features]; None for none.
        times: Seconds since 1970, int64 [time]; None if unknown.
    """

    values: FloatArray
    features: FloatArray | None = None
    times: IntArray | None = None


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """What a window is.

    Args:
        look_back: Rows that are known.
        horizon: Rows after them that are forecast; of no meaning with hidden_ratio.
        hidden_ratio: Share of the known values that is hidden and to be filled in; 0 to forecast.
        seed: Key of what is hidden, with the epoch and the window's index.
        is_target: True for channels that are judged, bool [channels]; None for all.
    """

    look_back: int
    horizon: int
    hidden_ratio: float = 0.0
    seed: tuple[int | str, ...] = (0,)
    is_target: npt.NDArray[np.bool_] | None = None

    @property
    def target_rows(self) -> int:
        """Rows that the model gives values for."""
        return self.look_back if self.hidden_ratio else self.horizon

    @property
    def total_rows(self) -> int:
        """Rows that a window spans."""
        return self.look_back if self.hidden_ratio else self.look_back + self.horizon


class SeriesWindows(Dataset):
    """Windows of a series by index; batches are cut out without a loop over examples.

    A missing value is nan among the targets; among the inputs it is the last value that was
    measured before it, or 0 if there is none. The scaled series is held in memory.

    Args:
        series: The rows.
        starts: First row of each window, [examples].
        settings: What a window is.
    """

    def __init__(self, series: ScaledSeries, starts: IntArray, settings: WindowSettings) -> None:
        self._series = series
        self._starts = starts
        self._settings = settings
        self._filled = carry_forward(series.values)
        self._is_complete = not np.isnan(series.values).any() and settings.is_target is None

    @override
    def __len__(self) -> int:
        return len(self._starts)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        row = np.array([self._settings.look_back, self._settings.target_rows], dtype=np.int32)
        return np.broadcast_to(row, (len(indices), 2))

    @property
    @override
    def fingerprint(self) -> str:
        settings, digest = self._settings, blake2b(digest_size=8)
        numbers = (settings.look_back, settings.horizon, settings.hidden_ratio, settings.seed)
        digest.update(repr((numbers, self._series.values.shape)).encode())
        for array in (self._series.values, self._series.features, self._starts, settings.is_target):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        """Returns windows as a batch.

        Inputs: `values`, float32 [batch, look_back, channels], and with features of time
        `time_features`, float32 [batch, rows of the window, features]. Targets: float32 [batch,
        target rows, channels]; nan where a value is missing, shown or not judged.
        """
        settings, starts = self._settings, self._starts[indices]
        inputs = _rows(self._filled, starts, settings.look_back)
        begin = 0 if settings.hidden_ratio else settings.look_back
        targets = _rows(self._series.values, starts + begin, settings.target_rows)
        num_targets = targets.size
        if settings.hidden_ratio:
            is_hidden = self._hidden(indices, epoch)
            inputs = _hide(inputs, is_hidden)
            targets = np.where(is_hidden, targets, np.float32(np.nan))
        if settings.is_target is not None:
            targets[:, :, ~settings.is_target] = np.nan
        if settings.hidden_ratio or not self._is_complete:
            num_targets -= int(np.isnan(targets).sum())
        named = {"values": torch.from_numpy(inputs)}
        if self._series.features is not None:
            rows = _rows(self._series.features, starts, settings.total_rows)
            named["time_features"] = torch.from_numpy(rows)
        extras = {}
        if self._series.times is not None:
            extras[FORECAST_TIME] = torch.from_numpy(self._series.times[starts + begin])
        num_positions = len(indices) * (settings.look_back + settings.target_rows)
        return Batch(
            inputs=named,
            targets=torch.from_numpy(targets),
            ids=torch.from_numpy(indices.copy()),
            num_targets=num_targets,
            num_tokens=num_positions,
            num_positions=num_positions,
            extras=extras,
        )

    @override
    def empty_batch(self) -> Batch:
        settings, series = self._settings, self._series
        channels = series.values.shape[1]
        inputs: dict[str, Tensor] = {"values": torch.zeros(1, settings.look_back, channels)}
        if series.features is not None:
            shape = (1, settings.total_rows, series.features.shape[1])
            inputs["time_features"] = torch.zeros(shape)
        extras = {}
        if series.times is not None:
            extras[FORECAST_TIME] = torch.zeros(1, dtype=torch.int64)
        return Batch(
            inputs=inputs,
            targets=torch.full((1, settings.target_rows, channels), torch.nan),
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
            extras=extras,
        )

    def _hidden(self, indices: IntArray, epoch: int) -> npt.NDArray[np.bool_]:
        """Returns what is hidden, [batch, look_back, channels]: a function of index and epoch."""
        shape = (self._settings.look_back, self._series.values.shape[1])
        keys = [rng.key(*self._settings.seed, "hidden", epoch, i) for i in indices.tolist()]
        drawn = [np.random.default_rng(key).random(shape, dtype=np.float32) for key in keys]
        return np.stack(drawn) < self._settings.hidden_ratio


def carry_forward(values: FloatArray) -> FloatArray:
    """Returns the values with each nan replaced by the last number before it, or 0.

    Args:
        values: [..., time, channels].
    """
    is_missing = np.isnan(values)
    if not is_missing.any():
        return values
    return _hide(np.where(is_missing, np.float32(0.0), values), is_missing)


def _hide(values: FloatArray, is_hidden: npt.NDArray[np.bool_]) -> FloatArray:
    """Puts the last value that is not hidden in the place of hidden ones, or 0."""
    shown = np.where(is_hidden, np.float32(0.0), values)
    steps = np.arange(values.shape[-2])[:, None]
    # The first row stands for "none before": it is 0 where it is hidden itself.
    last_shown = np.maximum.accumulate(np.where(is_hidden, 0, steps), axis=-2)
    return np.take_along_axis(shown, last_shown, axis=-2)


def _rows(array: FloatArray, starts: IntArray, num_rows: int) -> FloatArray:
    """Returns stretches of rows, [starts, num_rows, columns], as a copy."""
    by_row, by_column = array.strides
    windows = np.lib.stride_tricks.as_strided(
        array,
        (len(array) - num_rows + 1, num_rows, array.shape[1]),
        (by_row, by_row, by_column),
        writeable=False,
    )
    return windows[starts]
