"""A series as a task uses it: selected, split, scaled, and cut into windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from seqtrain.data.series.folder import series_lines
from seqtrain.data.series.scaler import SeriesScaler
from seqtrain.data.series.source import SeriesTable, parse_time
from seqtrain.data.series.split import TRAIN, Rows, split_rows
from seqtrain.data.series.time_features import check_time_features, row_seconds, time_features
from seqtrain.data.series.windows import ScaledSeries, SeriesWindows, WindowSettings
from seqtrain.errors import CheckpointError, ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
FUTURE = "future"
"""Split of one window: the last rows that there are, and the unknown ones after them."""
NULL_TOLERANCE = 5e-5


class WindowOptions(Protocol):
    """What a task's config says about windows."""

    target_columns: list[str]
    look_back: int
    horizon: int
    split_preset: str
    split_counts: list[int]
    split_ratios: list[float]
    split_overlap: bool
    scaler: str
    null_value: float | None
    time_features: list[str]
    hidden_ratio: float
    season: int


@dataclass(frozen=True)
class SeriesSettings:
    """What a model's user must know of the channels; all from the training rows.

    Args:
        columns: Names of the channels.
        scaler: Original units to scaled values.
        naive_errors: Mean absolute scaled error of the seasonal naive forecast, [channels].
        centers: Means of the scaled values, [channels].
        row_seconds: Time from row to row; 0 if unknown.
    """

    columns: list[str]
    scaler: SeriesScaler
    naive_errors: FloatArray
    centers: FloatArray
    row_seconds: int

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values for a checkpoint."""
        return {
            "columns": self.columns,
            "scaler": self.scaler.state_dict(),
            "naive_errors": self.naive_errors.tolist(),
            "centers": self.centers.tolist(),
            "row_seconds": self.row_seconds,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Returns what `state_dict` saved."""
        try:
            return cls(
                [str(name) for name in state["columns"]],
                SeriesScaler.from_state(state["scaler"]),
                np.array(state["naive_errors"], np.float64),
                np.array(state["centers"], np.float64),
                int(state["row_seconds"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"The saved task cannot be read: {error}.") from error


class SeriesData:
    """The splits of a series; made by `build`."""

    def __init__(
        self,
        options: WindowOptions,
        settings: SeriesSettings,
        series: ScaledSeries,
        rows: dict[str, Rows],
        seed: int,
    ) -> None:
        self._options = options
        self._settings = settings
        self._series = series
        self._rows = rows
        self._seed = seed
        self._lines: list[str] = []

    @classmethod
    def build(
        cls, options: WindowOptions, table: SeriesTable, seed: int
    ) -> tuple[SeriesSettings, Self]:
        """Returns what is known of the channels, and the splits.

        Raises:
            ConfigError: An option is not known, or asks for times that the series has not.
            DataError: The series is too short, or a channel is empty in the training rows.
        """
        values = without_nulls(table.values, options.null_value)
        rows = split_rows(
            len(values), options.split_preset, options.split_counts, options.split_ratios
        )
        train = values[slice(*rows[TRAIN])]
        scaler = SeriesScaler.fit(train, options.scaler, table.columns)
        scaled = scaler.transform(values)
        settings = SeriesSettings(
            table.columns,
            scaler,
            _naive_errors(scaled[slice(*rows[TRAIN])], options.season),
            np.nanmean(scaled[slice(*rows[TRAIN])], axis=0),
            0 if table.times is None else row_seconds(np.asarray(table.times)),
        )
        series = _as_series(scaled, table.times, options)
        data = cls(options, settings, series, rows, seed)
        if data._num_windows(TRAIN) < 1:
            raise DataError(
                f"The training rows ({rows[TRAIN][1]}) are fewer than a window has "
                f"({data._window(TRAIN).total_rows}). Lower task.look_back or task.horizon, or "
                "give training more rows."
            )
        data._lines = [*series_lines(table), *data._split_lines()]
        return settings, data

    @staticmethod
    def from_rows(
        options: WindowOptions, settings: SeriesSettings, rows: Sequence[Any]
    ) -> SeriesWindows:
        """Returns a window for each {"values": [[...], ...], "time": "..."}, or array of values.

        Raises:
            DataError: One is not such an object; the message counts them from 0.
        """
        window = _window_settings(options, settings.columns, (0, "rows"))
        to_come = window.total_rows - window.look_back
        steps = np.arange(1 - window.look_back, to_come + 1) * settings.row_seconds
        blocks, times = [np.zeros((0, len(settings.columns)))], []
        for number, row in enumerate(rows):
            values, last = _read_row(row, f"row {number}", window.look_back, settings)
            values = without_nulls(values, options.null_value)
            blocks.append(np.pad(values, ((0, to_come), (0, 0)), constant_values=np.nan))
            if last is not None:
                times.append(last + steps)
        has_times = bool(times) and len(times) == len(rows)
        series = _as_series(
            settings.scaler.transform(np.concatenate(blocks)),
            np.concatenate(times) if has_times else None,
            options,
        )
        return SeriesWindows(series, np.arange(len(rows)) * window.total_rows, window)

    def splits(self) -> list[str]:
        """Returns the splits that have a window, and `future`."""
        found = [split for split in self._rows if self._num_windows(split) > 0]
        return found if self._options.hidden_ratio else [*found, FUTURE]

    def windows(self, split: str) -> SeriesWindows:
        """Returns the windows of a split, the earliest first."""
        window = self._window(split)
        if split != FUTURE:
            begin, end = self._span(split)
            return SeriesWindows(
                ScaledSeries(*_cut(self._series, begin, end)),
                np.arange(self._num_windows(split)),
                window,
            )
        series = self._series
        values = np.pad(
            series.values[-window.look_back :],
            ((0, window.horizon), (0, 0)),
            constant_values=np.nan,
        )
        times = None
        if series.times is not None:
            known = series.times[-window.look_back :]
            steps = np.arange(1, window.horizon + 1) * self._settings.row_seconds
            times = np.concatenate([known, known[-1] + steps])
        return SeriesWindows(_with_features(values, times, self._options), np.arange(1), window)

    def lines(self) -> list[str]:
        """Returns what there is, for people."""
        return self._lines

    def _split_lines(self) -> list[str]:
        return [
            f"{split}: rows {first} to {end - 1}, {max(self._num_windows(split), 0)} windows"
            for split, (first, end) in self._rows.items()
            if end > first
        ]

    def _span(self, split: str) -> Rows:
        first, end = self._rows[split]
        if self._options.split_overlap and not self._options.hidden_ratio:
            first = max(first - self._options.look_back, 0)
        return first, end

    def _num_windows(self, split: str) -> int:
        if self._rows[split][0] == self._rows[split][1]:
            return 0
        first, end = self._span(split)
        return end - first - self._window(split).total_rows + 1

    def _window(self, split: str) -> WindowSettings:
        # What is hidden in evaluation must not depend on the run.
        seed = (self._seed if split == TRAIN else 0, split)
        return _window_settings(self._options, self._settings.columns, seed)


def without_nulls(values: npt.NDArray[np.float64], null_value: float | None) -> FloatArray:
    """Returns the values with nan in the place of the one that means missing."""
    if null_value is None:
        return np.asarray(values)
    is_null = np.isclose(values, null_value, rtol=0.0, atol=NULL_TOLERANCE)
    return np.where(is_null, np.nan, values)


def _naive_errors(train: FloatArray, season: int) -> FloatArray:
    """Returns the mean absolute error of repeating the value of a season before, [channels]."""
    if len(train) <= season:
        raise ConfigError(
            f"task.season ({season}) is not shorter than the training rows ({len(train)})."
        )
    errors = np.abs(train[season:] - train[:-season])
    counts = np.maximum((~np.isnan(errors)).sum(axis=0), 1)
    means = np.nansum(errors, axis=0) / counts
    return np.where(means > 0.0, means, 1.0)


def _as_series(
    scaled: FloatArray, times: npt.NDArray[np.int64] | None, options: WindowOptions
) -> ScaledSeries:
    check_time_features(options.time_features)
    if options.time_features and times is None:
        raise ConfigError(
            "task.time_features needs the times of the rows, which this series has not: name the "
            "column of dates with task.time_column, or leave the features out."
        )
    return _with_features(np.ascontiguousarray(scaled, dtype=np.float32), times, options)


def _with_features(
    values: npt.NDArray[np.float32], times: npt.NDArray[np.int64] | None, options: WindowOptions
) -> ScaledSeries:
    features = None
    if times is not None:
        times = np.asarray(times)
        if options.time_features:
            features = time_features(times, options.time_features)
    return ScaledSeries(values, features, times)


def _cut(
    series: ScaledSeries, begin: int, end: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None, npt.NDArray[np.int64] | None]:
    features = None if series.features is None else series.features[begin:end]
    times = None if series.times is None else series.times[begin:end]
    return series.values[begin:end], features, times


def _window_settings(
    options: WindowOptions, columns: list[str], seed: tuple[int | str, ...]
) -> WindowSettings:
    is_target = None
    if options.target_columns:
        missing = [name for name in options.target_columns if name not in columns]
        if missing:
            raise ConfigError(
                f"task.target_columns names {missing[0]!r}, which is not used. Used are: "
                f"{', '.join(columns)}."
            )
        is_target = np.array([name in options.target_columns for name in columns])
    return WindowSettings(
        look_back=options.look_back,
        horizon=options.horizon,
        hidden_ratio=options.hidden_ratio,
        seed=seed,
        is_target=is_target,
    )


def _read_row(
    row: Any, place: str, look_back: int, settings: SeriesSettings
) -> tuple[FloatArray, int | None]:
    """Returns the last look_back rows of an object's values, and the time of the last one."""
    try:
        record = row if isinstance(row, Mapping) else {"values": row}
        values = np.array(record["values"], dtype=np.float64)
        time = record.get("time")
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f'{place}: not an object as {{"values": [[...], ...]}} of rows of numbers: {error}.'
        ) from error
    if values.ndim != 2 or values.shape[1] != len(settings.columns) or len(values) < look_back:
        raise DataError(
            f"{place}: values {list(values.shape)}, expected are at least {look_back} rows of "
            f"{len(settings.columns)}: {', '.join(settings.columns)}."
        )
    last = None if time is None else parse_time(str(time), place)
    return values[-look_back:], last
