"""Scales each channel by what is known of it in the training rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from seqtrain.errors import CheckpointError, DataError
from seqtrain.option_checks import require_choice

FloatArray = npt.NDArray[np.float64]
KINDS = ("standard", "min_max", "none")


@dataclass(frozen=True)
class SeriesScaler:
    """scaled = (value - shift) / scale, channel by channel.

    Args:
        shift: float64 [channels].
        scale: float64 [channels], above 0.
    """

    shift: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, values: FloatArray, kind: str, columns: list[str]) -> Self:
        """Returns the scaler of training rows; missing values do not count.

        Args:
            values: Training rows, [time, channels]; nan where missing.
            kind: standard: mean 0 and standard deviation 1 (of the population); min_max: 0 to 1;
                none: as they are. A channel that never changes keeps its scale.
            columns: Names of the channels, for messages.

        Raises:
            ConfigError: The kind is not known.
            DataError: A channel has no value in these rows.
        """
        require_choice("task.scaler", kind, KINDS)
        empty = np.flatnonzero(np.isnan(values).all(axis=0))
        if len(empty):
            raise DataError(
                f"The column {columns[int(empty[0])]} has no value in the training rows. Leave it "
                "out with task.columns, or give the training more rows."
            )
        if kind == "standard":
            shift, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        elif kind == "min_max":
            shift = np.nanmin(values, axis=0)
            scale = np.nanmax(values, axis=0) - shift
        else:
            shift, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
        return cls(shift, np.where(scale > 0.0, scale, 1.0))

    def transform(self, values: npt.NDArray[Any]) -> FloatArray:
        """Returns scaled values, [..., channels]."""
        return (values - self.shift) / self.scale

    def inverse(self, values: npt.NDArray[Any]) -> FloatArray:
        """Returns values in their original units, [..., channels]."""
        return values * self.scale + self.shift

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values for a checkpoint."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Returns what `state_dict` saved."""
        try:
            shift, scale = (np.array(state[name], np.float64) for name in ("shift", "scale"))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"The saved scaler cannot be read: {error}.") from error
        return cls(shift, scale)
