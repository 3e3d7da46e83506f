"""Every task with every criterion: a training update, or a refusal in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_toy import recognition_config, write_jsonl, write_toy_series
from toy_run import toy_config, write_toy_text
from toy_series import series_config, write_series_csv
from toy_text import toy_text_config, write_toy_documents

from seqtrain.criteria.base import CRITERIA
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError
from seqtrain.plugins import import_built_ins
from seqtrain.registry import Registry
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.build import build_run, build_task
from seqtrain.training.run_config import RunConfig

import_built_ins()

CPU = torch.device("cpu")
SMALL = {"dim": 8, "num_heads": 2, "layers": 1}


def translation(folder: Path) -> dict[str, Any]:
    return toy_config(write_toy_text(folder, num_train=6, num_valid=2), folder / "run")


def text(name: str, model: dict[str, Any], folder: Path) -> dict[str, Any]:
    return toy_text_config(write_toy_documents(folder, 8, 2), folder / "run", name, model)


def forecasting(folder: Path) -> dict[str, Any]:
    file = write_series_csv(folder / "series.csv", num_rows=120)
    return series_config(file, folder / "run", {"look_back": 8, "horizon": 4})


def recognition(folder: Path) -> dict[str, Any]:
    return recognition_config(write_toy_series(folder, 9, 3), folder / "run")


def segmentation(folder: Path) -> dict[str, Any]:
    for split in ("train", "valid", "test"):
        rows = [{"tokens": "abca"[: 2 + i % 3], "labels": "xyzx"[: 2 + i % 3]} for i in range(6)]
        write_jsonl(folder / f"{split}.jsonl", rows)
    config = recognition_config(folder, folder / "run")
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "valid", "test")}
    return config | {"task": {"name": "segmentation", **files}}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "translation": translation,
    "language_modeling": lambda f: text("language_modeling", {"name": "lstm_lm", "dim": 8}, f),
    "masked_lm": lambda f: text("masked_lm", {"name": "transformer_encoder"} | SMALL, f),
    "denoising": lambda f: text("denoising", {"name": "lstm", "dim": 8}, f),
    "forecasting": forecasting,
    "recognition": recognition,
    "segmentation": segmentation,
}
SYMBOLS = {"cross_entropy", "label_smoothed_cross_entropy", "masked_lm", "soft_cross_entropy",
           "r_drop", "composite", "segmentation", "ctc", "adaptive_softmax"}  # fmt: skip
TRAINED = {
    "translation": SYMBOLS,
    "language_modeling": SYMBOLS,
    "masked_lm": SYMBOLS,
    "denoising": SYMBOLS,
    "forecasting": {"regression"},
    "recognition": SYMBOLS - {"segmentation", "ctc", "adaptive_softmax"},
    "segmentation": SYMBOLS - {"adaptive_softmax"},
}
"""The criteria that each task can be trained with. knowledge_distillation needs a teacher."""
FIELDS = {"adaptive_softmax": {"dim": 8}}


def built_in(registry: Registry[Any]) -> set[str]:
    names = registry.names()
    return {n for n in names if registry.get(n).cls.__module__.startswith("seqtrain.")}


def test_every_built_in_task_has_an_example_here() -> None:
    assert built_in(TASKS) == EXAMPLES.keys() == TRAINED.keys()


def train_an_update(config: dict[str, Any], criterion: str, task: Task) -> None:
    section = {"name": criterion} | FIELDS.get(criterion, {})
    run = build_run(RunConfig.parse(config | {"criterion": section}), Collectives(), CPU, task=task)
    assert "loss" in run.evaluator.names("valid", generate=False)
    assert next(run.trainer.train_epoch(run.iterator)).applied
    assert np.isfinite(run.evaluator.losses("valid")["loss"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_task_is_trained_with_a_criterion_or_refuses_it_in_one_line(
    name: str, tmp_path: Path
) -> None:
    config = EXAMPLES[name](tmp_path)
    task = build_task(RunConfig.parse(config))
    for criterion in TRAINED[name]:
        train_an_update(config, criterion, task)
    for criterion in built_in(CRITERIA) - TRAINED[name]:
        with pytest.raises(ConfigError, match="criterion") as refusal:
            train_an_update(config, criterion, task)
        assert "\n" not in str(refusal.value)


def test_a_criterion_that_does_not_fit_is_named_with_those_that_do(tmp_path: Path) -> None:
    config = forecasting(tmp_path)
    task = build_task(RunConfig.parse(config))
    with pytest.raises(ConfigError) as refusal:
        train_an_update(config, "cross_entropy", task)
    message, _, fitting = str(refusal.value).partition(" For task=forecasting write ")
    assert message == (
        "criterion=cross_entropy compares with symbols or classes; the targets here are numbers."
    )
    assert "criterion=regression" in fitting
    assert "cross_entropy" not in fitting
    section = {"name": "composite", "members": [{"name": "regression"}, {"name": "ctc"}]}
    run = RunConfig.parse(config | {"criterion": section})
    with pytest.raises(ConfigError, match="criterion=ctc compares with sequences of"):
        build_run(run, Collectives(), CPU, task=task)
