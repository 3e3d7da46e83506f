"""Which rows of a series are for training, validation and test."""

from collections.abc import Sequence

from seqtrain.errors import ConfigError, DataError

TRAIN, VALID, TEST = "train", "valid", "test"
MONTH_HOURS = 30 * 24
PRESETS = {
    "ett_hourly": (12 * MONTH_HOURS, 4 * MONTH_HOURS, 4 * MONTH_HOURS),
    "ett_minutely": (48 * MONTH_HOURS, 16 * MONTH_HOURS, 16 * MONTH_HOURS),
}
"""Rows of train, valid and test by name: 12, 4 and 4 months of 30 days, hourly or every 15
minutes, as in the literature on the ETT data (Zhou et al. 2021). Later rows are not used."""
Rows = tuple[int, int]


def split_rows(
    num_rows: int, preset: str, counts: Sequence[int], ratios: Sequence[float]
) -> dict[str, Rows]:
    """Returns the first row of each split and the one after its last.

    Args:
        num_rows: Rows of the series.
        preset: A name in PRESETS, which decides if it is not empty.
        counts: Rows of train, valid and test; decide if there are any.
        ratios: Shares of train, valid and test, which sum to 1. Train and test are rounded down,
            valid gets the rest, as in the literature.

    Raises:
        ConfigError: The preset is not known, or counts or ratios are not three that can be.
        DataError: The series has fewer rows than asked for.
    """
    if preset:
        if preset not in PRESETS:
            raise ConfigError(
                f"task.split_preset must be one of {', '.join(PRESETS)}, or empty, got {preset!r}."
            )
        counts = PRESETS[preset]
    if not counts:
        counts = _counts_of(num_rows, ratios)
    if len(counts) != 3 or min(counts) < 0 or counts[0] < 1:
        raise ConfigError(
            "task.split_counts must be the rows of train, valid and test, got "
            f"{list(counts)}: give three numbers, the first above 0."
        )
    train, valid, test = counts
    if train + valid + test > num_rows:
        raise DataError(
            f"The series has {num_rows} rows, the splits ask for {train} + {valid} + {test}. "
            "Change task.split_counts or task.split_preset."
        )
    return {
        TRAIN: (0, train),
        VALID: (train, train + valid),
        TEST: (train + valid, train + valid + test),
    }


def _counts_of(num_rows: int, ratios: Sequence[float]) -> tuple[int, int, int]:
    is_possible = len(ratios) == 3 and min(ratios) >= 0 and abs(sum(ratios) - 1.0) < 1e-6
    if not is_possible:
        raise ConfigError(
            "task.split_ratios must be the shares of train, valid and test, which sum to 1, got "
            f"{list(ratios)}."
        )
    # 0.7 * 10 is below 7 in floating point.
    train, test = (int(num_rows * ratio + 1e-6) for ratio in (ratios[0], ratios[2]))
    return train, num_rows - train - test, test
