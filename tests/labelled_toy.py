"""Small labelled data for tests: series that rise or fall, in files of every kind."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqtrain.data.labelled.settings import LabelledSettings
from seqtrain.data.tokenizers.char import CharTokenizerConfig


def series(
    count: int, seed: int, num_classes: int = 3, channels: int = 2
) -> tuple[list[np.ndarray[Any, Any]], list[str]]:
    """Returns sequences of 4 to 9 positions, and classes that their slopes tell."""
    generator = np.random.default_rng(seed)
    values, labels = [], []
    for index in range(count):
        label = index % num_classes
        time = np.linspace(0.0, 1.0, int(generator.integers(4, 10)))
        wave = time[:, None] * (label - 1.0) * 2.0
        values.append((wave + 0.2 * generator.normal(size=(len(time), channels))).astype("f4"))
        labels.append("abcdefgh"[label])
    return values, labels


def write_npz(
    path: Path, values: list[np.ndarray[Any, Any]], labels: list[Any], **more: Any
) -> Path:
    lengths = np.array([len(row) for row in values])
    np.savez(path, values=np.concatenate(values), lengths=lengths, labels=labels, **more)
    return path


def write_jsonl(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def write_toy_series(folder: Path, num_train: int = 60, num_valid: int = 13) -> Path:
    """Writes train.npz, valid.npz and test.npz; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate(
        (("train", num_train), ("valid", num_valid), ("test", num_valid))
    ):
        write_npz(folder / f"{split}.npz", *series(count, seed))
    return folder


def settings(train: Path, per_position: bool = False, **more: Any) -> LabelledSettings:
    files = {"train": train, **more.pop("files", {})}
    return LabelledSettings(
        files=files,
        per_position=per_position,
        tokenizer=CharTokenizerConfig(name="char"),
        **more,
    )


def recognition_config(folder: Path, run_dir: Path, **sections: Any) -> dict[str, Any]:
    """Returns the config of a small run; sections are merged into the defaults."""
    config: dict[str, Any] = {
        "run_dir": str(run_dir),
        "device": "cpu",
        "seed": 3,
        "task": {
            "name": "recognition",
            **{split: str(folder / f"{split}.npz") for split in ("train", "valid", "test")},
        },
        "model": {"name": "conv_classifier", "dim": 8, "num_layers": 2, "drop_path": 0.2},
        "criterion": {"name": "soft_cross_entropy"},
        "optimizer": {"name": "adam", "lr": 0.01},
        "lr_scheduler": {"name": "constant"},
        "dataset": {"batch_size": 12, "max_tokens": 0},
        "optimization": {"max_epoch": 2},
        "checkpoint": {"save_interval": 0, "keep_last": 2},
        "logging": {"interval": 1},
        "log_writer": {"jsonl": {}},
    }
    for name, values in sections.items():
        config[name] = config.get(name, {}) | values if isinstance(values, dict) else values
    return config
