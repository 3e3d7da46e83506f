from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.data.series.time_features import TIME_FEATURES, time_features


@given(st.integers(0, 4_000_000_000))
def test_features_are_those_of_the_calendar(seconds: int) -> None:
    date = datetime.fromtimestamp(seconds, UTC)
    day = date.timetuple()
    expected = {
        "minute_of_hour": (date.minute * 60 + date.second) / 3600,
        "time_of_day": (date.hour * 3600 + date.minute * 60 + date.second) / 86400,
        "day_of_week": date.weekday() / 6,
        "day_of_month": (date.day - 1) / 30,
        "day_of_year": (day.tm_yday - 1) / 365,
        "month_of_year": (date.month - 1) / 11,
    }
    assert expected.keys() == TIME_FEATURES.keys()
    found = time_features(np.array([seconds]), list(expected))
    np.testing.assert_allclose(found[0] + 0.5, list(expected.values()), atol=1e-6)
