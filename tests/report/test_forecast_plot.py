import json
from pathlib import Path
from typing import Any

import pytest

from seqtrain.errors import ConfigError, DataError
from seqtrain.report.forecast_plot import plot_forecasts, read_forecasts


def rows() -> list[dict[str, Any]]:
    values = {"a": [1.0, 2.0, 3.0], "b": [0.0, 0.5, 0.0]}
    lower = {name: [value - 1 for value in column] for name, column in values.items()}
    came = {"a": [1.5, None, 2.0], "b": [None, None, None]}
    return [
        {
            "id": index,
            "forecast": values,
            "history": values,
            "actual": came,
            "time": "2020-01-01T00:00:00",
            "quantiles": {"0.1": lower, "0.5": values},
        }
        for index in range(3)
    ]


def test_forecasts_are_read_by_id_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = "\n".join(json.dumps(row) for row in rows())
    (tmp_path / "x.jsonl").write_text(lines + "\n")
    some = read_forecasts(tmp_path / "x.jsonl", [2, 0])
    assert [row["id"] for row in some] == [2, 0]
    plot_forecasts(some, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(rows()[0]) + "\n")
    with pytest.raises(DataError, match="no forecast with id 7"):
        read_forecasts(tmp_path / "x.jsonl", [7])
    (tmp_path / "y.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="y.jsonl:1: not a forecast"):
        read_forecasts(tmp_path / "y.jsonl", [0])
    with pytest.raises(ConfigError, match="No column 'c' was forecast"):
        plot_forecasts(rows(), tmp_path / "x.png", ["c"])
    with pytest.raises(ConfigError, match="no forecast to draw"):
        plot_forecasts([], tmp_path / "x.png")
