"""Features of the time of a row: where in the day, the week, the month and the year it is."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from seqtrain.errors import ConfigError

IntArray = npt.NDArray[np.int64]
DAY_SECONDS = 24 * 3600


def time_features(times: IntArray, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Returns features from -0.5 to 0.5, float32 [time, features].

    Args:
        times: Seconds since 1970, [time].
        names: Which features, of TIME_FEATURES.
    """
    check_time_features(names)
    columns = [TIME_FEATURES[name](times) - 0.5 for name in names]
    stacked = np.stack(columns, axis=1) if columns else np.zeros((len(times), 0))
    return stacked.astype(np.float32)


def check_time_features(names: Sequence[str]) -> None:
    """Raises ConfigError if a feature is not known."""
    for name in names:
        if name not in TIME_FEATURES:
            raise ConfigError(
                f"task.time_features holds {name!r}. Known: {', '.join(TIME_FEATURES)}."
            )


def row_seconds(times: IntArray) -> int:
    """Returns the usual distance between two rows, in seconds."""
    return int(np.median(np.diff(times))) if len(times) > 1 else 0


def as_text(seconds: int) -> str:
    """Returns a time as 2016-07-01T13:00:00."""
    return str(np.datetime64(seconds, "s"))


def _dates(times: IntArray, unit: str) -> npt.NDArray[np.datetime64]:
    return times.astype("datetime64[s]").astype(f"datetime64[{unit}]")


def _minute_of_hour(times: IntArray) -> npt.NDArray[np.float64]:
    return (times % 3600) / 3600.0


def _time_of_day(times: IntArray) -> npt.NDArray[np.float64]:
    return (times % DAY_SECONDS) / DAY_SECONDS


def _day_of_week(times: IntArray) -> npt.NDArray[np.float64]:
    # 1970 began on a Thursday; Monday is 0.
    return ((times // DAY_SECONDS + 3) % 7) / 6.0


def _day_of_month(times: IntArray) -> npt.NDArray[np.float64]:
    days = _dates(times, "D") - _dates(times, "M").astype("datetime64[D]")
    return days.astype(np.int64) / 30.0


def _day_of_year(times: IntArray) -> npt.NDArray[np.float64]:
    days = _dates(times, "D") - _dates(times, "Y").astype("datetime64[D]")
    return days.astype(np.int64) / 365.0


def _month_of_year(times: IntArray) -> npt.NDArray[np.float64]:
    months = _dates(times, "M").astype(np.int64) % 12
    return months / 11.0


TIME_FEATURES: dict[str, Callable[[IntArray], npt.NDArray[np.float64]]] = {
    "minute_of_hour": _minute_of_hour,
    "time_of_day": _time_of_day,
    "day_of_week": _day_of_week,
    "day_of_month": _day_of_month,
    "day_of_year": _day_of_year,
    "month_of_year": _month_of_year,
}
"""From 0 to 1 by name."""
