"""Run folders for tests of reports, written by the log writers that runs have."""

import json
import math
from pathlib import Path
from typing import Any

from seqtrain.training.log_writers.jsonl import JsonlConfig, JsonlWriter
from seqtrain.training.log_writers.samples import SamplesConfig, SamplesWriter

SECONDS_PER_UPDATE = 0.5


def write_run(folder: Path, updates: int = 40, level: float = 1.0, **config: Any) -> Path:
    """Writes a run whose loss falls to a level; returns its folder."""
    folder.mkdir(parents=True)
    figures = JsonlWriter(JsonlConfig(), folder, None)
    samples = SamplesWriter(SamplesConfig(), folder, None)
    for update in range(10, updates + 1, 10):
        loss = level + 4.0 / update
        seconds = update * SECONDS_PER_UPDATE
        mechanics = {"lr": 0.01 / update, "gnorm": 1.0, "wps": 900.0, "padding": 3.0}
        train = {"epoch": 1, "train_loss": loss, "train_ppl": math.exp(loss)}
        figures.write("train", update, train | mechanics | {"train_wall": seconds})
        if update % 20 == 0:
            valid = {"valid_loss": loss + 0.1, "valid_bleu": 10.0 * update, "valid_best": loss}
            figures.write("valid", update, valid)
            samples.samples(update, sample_rows(update))
    figures.close()
    samples.close()
    sections = {"run_dir": str(folder), "checkpoint": {"best_metric": "valid_loss"}, **config}
    (folder / "config.json").write_text(json.dumps(sections))
    (folder / "test_metrics.json").write_text(json.dumps({"test_loss": level, "num_updates": 40}))
    return folder


def sample_rows(update: int) -> list[dict[str, Any]]:
    attention = {"source": ["a", "b"], "target": ["x", "</s>"], "weights": [[0.9, 0.1], [0.2, 0.8]]}
    values = {"t": [1.0 * update, None, 3.0]}
    forecast = {"forecast": values, "history": values, "actual": values}
    text = {"split": "valid", "id": 3, "source": "a b", "reference": "x"}
    return [
        text | {"output": f"said after {update}", "attention": attention},
        {"split": "valid", "id": 4, "prediction": {"label": "cat", "probability": 0.75}},
        {"split": "valid", "id": 5, "prediction": forecast},
    ]
