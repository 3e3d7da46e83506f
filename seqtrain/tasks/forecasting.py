"""Forecasting: what a series will be, or was where values are hidden."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.series.data import SeriesData, SeriesSettings
from seqtrain.data.series.folder import open_series, write_series
from seqtrain.data.series.source import SeriesTable, read_series
from seqtrain.data.series.time_features import as_text
from seqtrain.data.series.windows import FORECAST_TIME
from seqtrain.data.text.byte_streams import as_location
from seqtrain.errors import ConfigError
from seqtrain.metrics import Metrics
from seqtrain.models.base import ModelContext, ModelOutput
from seqtrain.option_checks import require_fields, require_range
from seqtrain.tasks.base import Task, TaskConfig, register_task
from seqtrain.tasks.forecast_metrics import error_metrics, point_metrics, quantile_metrics


@dataclass(kw_only=True)
class ForecastingConfig(TaskConfig):
    """Windows of a series of numbers: so many known rows, and the rows after them."""

    file: str = ""
    """The series: .csv, .tsv (also compressed), .parquet, or .npy [time, channels]. What
    `seqtrain-preprocess` converts; runs read it too, where there is no `data`."""
    time_column: str = ""
    """Column of dates; empty for the first column if it holds no numbers."""
    columns: list[str] = field(default_factory=list)
    """Columns that are used; none for all."""
    target_columns: list[str] = field(default_factory=list)
    """Columns that are judged, in training and evaluation; none for all that are used."""
    look_back: int = 336
    """Rows that the model sees."""
    horizon: int = 96
    """Rows that it forecasts."""
    split_preset: str = ""
    """Known borders of train, valid and test: ett_hourly or ett_minutely, 12, 4 and 4 months."""
    split_counts: list[int] = field(default_factory=list)
    """Rows of train, valid and test, where there is no preset."""
    split_ratios: list[float] = field(default_factory=lambda: [0.7, 0.1, 0.2])
    """Shares of train, valid and test, where there are no counts."""
    split_overlap: bool = True
    """The first windows of valid and test look back into the split before, so that every row of a
    split is forecast, as in the literature; false: a split's windows keep to its rows."""
    scaler: str = "standard"
    """What channels are scaled by, known from the training rows alone: standard (mean 0, deviation
    1), min_max (0 to 1) or none."""
    null_value: float | None = None
    """Value that means missing, besides nan and empty fields, which always do. Missing values
    count neither in the loss nor in metrics; a model sees the last value before them."""
    time_features: list[str] = field(default_factory=list)
    """What models are told of the time of each row: minute_of_hour, time_of_day, day_of_week,
    day_of_month, day_of_year, month_of_year. Only some models listen."""
    hidden_ratio: float = 0.0
    """Share of values that is hidden at random, new in each epoch: the model fills these in, and
    forecasts nothing. 0 to forecast."""
    quantiles: list[float] = field(default_factory=list)
    """Levels that the model forecasts, rising, with criterion.loss=quantile and the same
    criterion.quantiles; none for one value. Metrics judge the one next to 0.5 as the forecast."""
    report_horizons: list[int] = field(default_factory=list)
    """Steps whose metrics are reported by themselves, from 1: 96 gives mae_h96 and so on."""
    original_units: bool = False
    """Also report errors in the units of the file: original_mae and so on."""
    season: int = 1
    """Rows of a season, for mase: 24 for hourly data with days; 1 for none."""

    def __post_init__(self) -> None:
        require_fields("task", self, "look_back", "horizon", "season", least=1)
        require_range("task.hidden_ratio", self.hidden_ratio, least=0, below=1)
        levels = [0.0, *self.quantiles, 1.0]
        if any(not a < b for a, b in pairwise(levels)):
            raise ConfigError(
                f"task.quantiles must rise between 0 and 1, got {list(self.quantiles)}."
            )
        steps = self.look_back if self.hidden_ratio else self.horizon
        wrong = [step for step in self.report_horizons if not 1 <= step <= steps]
        if wrong:
            raise ConfigError(f"task.report_horizons must be from 1 to {steps}, got {wrong[0]}.")


@register_task("forecasting", config=ForecastingConfig)
class ForecastingTask(Task):
    """One series of several channels, cut into windows.

    Args:
        config: The task's section.
        settings: What is known of the channels.
        data: The rows; None for a task without data, as a checkpoint gives it.
    """

    raw_settings = ("file", "time_column")

    def __init__(
        self, config: ForecastingConfig, settings: SeriesSettings, data: SeriesData | None
    ) -> None:
        super().__init__(config)
        self.settings = settings
        self._data = data
        self._datasets: dict[str, Dataset] = {}
        self._middle = _nearest_to_half(config.quantiles)

    @classmethod
    @override
    def load(cls, config: ForecastingConfig, seed: int) -> Self:
        if config.data:
            table = open_series(Path(config.data))
        elif config.file:
            table = read_series(as_location(config.file), config.time_column)
        else:
            raise ConfigError(
                "task=forecasting has no data: set task.data to a folder of seqtrain-preprocess, "
                "or task.file to a .csv, .tsv, .npy or .parquet file."
            )
        settings, data = SeriesData.build(config, table.select(config.columns), seed)
        return cls(config, settings, data)

    @classmethod
    @override
    def from_state(cls, config: ForecastingConfig, state: Mapping[str, Any]) -> Self:
        return cls(config, SeriesSettings.from_state(state), None)

    @classmethod
    @override
    def prepare(cls, config: ForecastingConfig, out: Path, num_workers: int) -> list[str]:
        if not config.file:
            raise ConfigError("task.file is not set: name a .csv, .tsv, .npy or .parquet file.")
        table: SeriesTable = read_series(as_location(config.file), config.time_column)
        return write_series(table.select(config.columns), config.file, out)

    @override
    def state_dict(self) -> dict[str, Any]:
        return self.settings.state_dict()

    @property
    @override
    def context(self) -> ModelContext:
        config = self.config
        return ModelContext(
            num_channels=len(self.settings.columns),
            look_back=config.look_back,
            horizon=config.look_back if config.hidden_ratio else config.horizon,
            num_time_features=len(config.time_features),
            num_quantiles=len(config.quantiles),
        )

    @override
    def splits(self) -> list[str]:
        return [] if self._data is None else self._data.splits()

    @override
    def dataset(self, split: str) -> Dataset:
        if self._data is None or split not in self._data.splits():
            raise self.missing_split(split)
        if split not in self._datasets:
            self._datasets[split] = self._data.windows(split)
        return self._datasets[split]

    @override
    def describe(self) -> list[str]:
        return [] if self._data is None else self._data.lines()

    @override
    def measure(self, output: ModelOutput, batch: Batch) -> Metrics:
        """Returns metrics of scaled values, of single steps, and of original units, as configured.

        Quantiles are judged by the one next to one half, and by crps and coverage.
        """
        predictions, targets = output.logits.float(), batch.targets
        if not batch.num_targets:
            targets = torch.full_like(targets, math.nan)
        found = Metrics()
        points = predictions
        if self.config.quantiles:
            points = predictions[..., self._middle]
            found.merge(quantile_metrics(predictions, targets, self.config.quantiles))
        parts = {"": slice(None)} | {
            f"_h{step}": slice(step - 1, step) for step in self.config.report_horizons
        }
        for suffix, steps in parts.items():
            some = (points[:, steps], targets[:, steps])
            naive, centers = (self._on(values, targets) for values in self._references())
            _add(found, point_metrics(*some, naive, centers), suffix=suffix)
            if self.config.original_units:
                originals = [self._original(values) for values in some]
                _add(found, error_metrics(*originals), "original_", suffix)
        return found

    @override
    def predict(self, output: ModelOutput, batch: Batch) -> list[dict[str, Any]]:
        """Returns forecasts by column in the units of the file.

        Each has `forecast` {column: values}, `history` (the known values nearest to them),
        `actual` (None where a value is not known), `time` (of the first value that is forecast)
        and `row_seconds` where the file has times, and `quantiles` {level: {column: values}}.
        """
        predictions = output.logits.float()
        points = predictions
        if self.config.quantiles:
            points = predictions[..., self._middle]
        known = batch.inputs["values"][:, -points.size(1) :]
        named: dict[str, Any] = {
            "forecast": self._by_column(points),
            "history": self._by_column(known),
            "actual": self._by_column(batch.targets),
        }
        rows = [{name: columns[i] for name, columns in named.items()} for i in range(len(points))]
        for index, level in enumerate(self.config.quantiles):
            for row, columns in zip(rows, self._by_column(predictions[..., index]), strict=True):
                row.setdefault("quantiles", {})[f"{level:g}"] = columns
        if FORECAST_TIME in batch.extras:
            for row, seconds in zip(rows, batch.extras[FORECAST_TIME].tolist(), strict=True):
                row |= {"time": as_text(seconds), "row_seconds": self.settings.row_seconds}
        return rows[: batch.num_examples]

    @override
    def prediction_dataset(self, rows: Sequence[Any]) -> Dataset:
        """Returns windows of objects {"values": [[...], ...], "time": ...}.

        `values` are the rows that are known, in the order of the columns and in original units,
        null where one is missing; of more than look_back rows the last ones count. `time` is that
        of the last row; it is needed where the model uses features of time.
        """
        return SeriesData.from_rows(self.config, self.settings, rows)

    def _references(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return self.settings.naive_errors, self.settings.centers

    def _original(self, values: Tensor) -> Tensor:
        scaler = self.settings.scaler
        return values * self._on(scaler.scale, values) + self._on(scaler.shift, values)

    def _on(self, values: np.ndarray[Any, Any], like: Tensor) -> Tensor:
        return torch.as_tensor(values, dtype=like.dtype, device=like.device)

    def _by_column(self, values: Tensor) -> list[dict[str, list[float | None]]]:
        """Returns {column: values in original units} of each example of [batch, time, channels]."""
        scaled = values.double().cpu().numpy()
        original = np.swapaxes(self.settings.scaler.inverse(scaled), 1, 2)
        columns = self.settings.columns
        return [
            {name: [_plain(v) for v in row] for name, row in zip(columns, rows, strict=True)}
            for rows in original.tolist()
        ]


def _add(found: Metrics, more: Metrics, prefix: str = "", suffix: str = "") -> None:
    for name in more:
        found[f"{prefix}{name}{suffix}"] = more[name]


def _nearest_to_half(levels: Sequence[float]) -> int:
    return min(range(len(levels)), key=lambda index: abs(levels[index] - 0.5), default=0)


def _plain(value: float) -> float | None:
    """Seven significant digits are all that float32 has; JSON has no nan."""
    return None if math.isnan(value) else float(f"{value:.7g}")
