import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.data.series.split import split_rows
from seqtrain.errors import ConfigError, DataError


def test_the_ett_presets_are_12_4_and_4_months_of_30_days() -> None:
    hourly = split_rows(17420, "ett_hourly", [], [])
    assert hourly == {"train": (0, 8640), "valid": (8640, 11520), "test": (11520, 14400)}
    quarters = split_rows(69680, "ett_minutely", [], [])
    assert quarters == {"train": (0, 34560), "valid": (34560, 46080), "test": (46080, 57600)}


def test_ratios_round_train_and_test_down() -> None:
    # As in the literature on the electricity data: int(0.7 n), the rest, int(0.2 n).
    rows = split_rows(26304, "", [], [0.7, 0.1, 0.2])
    assert rows == {"train": (0, 18412), "valid": (18412, 21044), "test": (21044, 26304)}


@given(num_rows=st.integers(1, 10**6), train=st.floats(0.1, 0.8))
def test_ratios_use_every_row_once(num_rows: int, train: float) -> None:
    rest = (1.0 - train) / 2
    rows = split_rows(num_rows + 10, "", [], [train, rest, rest])
    assert rows["train"][0] == 0
    assert rows["train"][1] == rows["valid"][0]
    assert rows["valid"][1] == rows["test"][0]
    assert rows["test"][1] == num_rows + 10


def test_impossible_splits_name_the_key() -> None:
    with pytest.raises(ConfigError, match="task.split_preset"):
        split_rows(10, "ett", [], [])
    with pytest.raises(ConfigError, match="task.split_ratios"):
        split_rows(10, "", [], [0.5, 0.2])
    with pytest.raises(ConfigError, match="task.split_counts"):
        split_rows(10, "", [0, 5, 5], [])
    with pytest.raises(DataError, match="10 rows, the splits ask for 8 . 2 . 2"):
        split_rows(10, "", [8, 2, 2], [])
