"""A small series with a daily wave, and runs on it, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from toy_run import toy_config


def write_series_csv(path: Path, num_rows: int = 400, missing: float = 0.0) -> Path:
    """Writes two hourly columns, date first; some values may be missing."""
    random = np.random.default_rng(5)
    steps = np.arange(num_rows)
    waves = np.stack([np.sin(steps * np.pi / 6), np.cos(steps * np.pi / 6)], axis=1)
    values = 10.0 * waves + [50.0, -3.0] + random.normal(size=waves.shape)
    times = np.datetime64("2020-01-01T00") + steps.astype("timedelta64[h]")
    lines = ["date,a,b"]
    for time, row in zip(times, values, strict=True):
        fields = ["" if random.random() < missing else f"{value:.6f}" for value in row]
        lines.append(f"{str(time).replace('T', ' ')}:00:00,{','.join(fields)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def series_config(
    file: Path, run_dir: Path, task: dict[str, Any] | None = None, **sections: Any
) -> dict[str, Any]:
    """Returns the config of a short run on the series; sections are merged into the defaults."""
    config = toy_config(
        file,
        run_dir,
        criterion={"name": "regression"},
        dataset={"batch_size": 16, "max_tokens": 0},
        lr_scheduler={"name": "fixed"},
        optimization={"max_epoch": 0, "max_update": 12},
        **{name: section for name, section in sections.items() if name == "distributed"},
    )
    del config["lr_scheduler"]["warmup_updates"]
    config["task"] = {
        "name": "forecasting",
        "file": str(file),
        "look_back": 24,
        "horizon": 6,
        "split_ratios": [0.6, 0.2, 0.2],
    } | (task or {})
    config["model"] = {"name": "nlinear"}
    for name, section in sections.items():
        if name == "model":
            config["model"] = section
        else:
            config[name] = config.get(name, {}) | section
    return config
