"""A small real run for tests: words reversed, two epochs in a second."""

import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401 # the first optimizer imports it; forked runs inherit it

from seqtrain.checkpoint.layout import updates_of
from seqtrain.checkpoint.load import read_newest
from seqtrain.training.callbacks.base import Callback, CallbackConfig, register_callback
from seqtrain.training.trainer import Trainer

TIMINGS = {"wps", "ups", "wall", "train_wall", "wait"}


def write_toy_text(folder: Path, num_train: int = 48, num_valid: int = 9) -> Path:
    """Writes train, valid and test text of letters and the same reversed; returns the folder."""
    rng = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", num_train), ("valid", num_valid), ("test", num_valid)):
        words = ["".join(rng.choices("abcdef", k=rng.randint(2, 7))) for _ in range(count)]
        (folder / f"{split}.x").write_text("".join(f"{' '.join(w)}\n" for w in words))
        (folder / f"{split}.y").write_text("".join(f"{' '.join(w[::-1])}\n" for w in words))
    return folder


def toy_config(text: Path, run_dir: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """Returns a run config; sections are merged into the defaults, section by section."""
    config: dict[str, Any] = {
        "run_dir": str(run_dir),
        "device": "cpu",
        "seed": 3,
        "task": {
            "name": "translation",
            "source": "x",
            "target": "y",
            "train": str(text / "train"),
            "valid": str(text / "valid"),
            "test": str(text / "test"),
            "tokenizer": "word",
            "scorers": ["wer"],
        },
        "model": {
            "name": "transformer",
            "dim": 8,
            "ffn_dim": 16,
            "num_heads": 2,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "dropout": 0.2,
        },
        "criterion": {"name": "label_smoothed_cross_entropy"},
        "optimizer": {"name": "adam", "lr": 0.01},
        "lr_scheduler": {"name": "inverse_sqrt", "warmup_updates": 5},
        "dataset": {"max_tokens": 24},
        "optimization": {"max_epoch": 2, "clip_norm": 1.0},
        "validation": {"validate_interval_updates": 4, "test_generate": False},
        "checkpoint": {"save_interval": 0, "keep_last": 2},
        "generation": {"beam": 2, "max_len_b": 10},
        "logging": {"interval": 3},
        "log_writer": {"jsonl": {}},
    }
    for name, values in sections.items():
        config[name] = config.get(name, {}) | values if isinstance(values, dict) else values
    return config


@dataclass(kw_only=True)
class SnapshotConfig(CallbackConfig):
    """Copies the run directory right after each commit, as a kill at that moment would leave it."""

    into: str = ""
    """Folder for the copies, one for each update."""


@register_callback("test_snapshot", config=SnapshotConfig)
class Snapshot(Callback):
    """See SnapshotConfig."""

    def on_checkpoint_saved(self, trainer: Trainer, path: Path) -> None:
        run_dir = path.parent.parent
        shutil.copytree(run_dir, Path(self.config.into) / str(updates_of(path.name)))


def final_state(run_dir: Path) -> dict[str, Any]:
    """Returns the parts of the newest checkpoint that training changes."""
    loaded = read_newest(run_dir / "checkpoints", print)
    assert loaded is not None
    return {name: loaded.parts[name] for name in ("model", "optimizer", "trainer")}


def history(run_dir: Path) -> list[dict[str, Any]]:
    """Returns the rows of metrics.jsonl without their timings."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS} for line in lines]


def run_forked(function: Callable[[], object]) -> int:
    """Runs a function in a forked process and returns its exit code (negative: its signal)."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
