"""Every task goes through the commands: prepare, train, evaluate, and predict if it does."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_toy import write_jsonl, write_toy_series

from seqtrain.pipeline import load
from seqtrain.plugins import import_built_ins
from seqtrain.tasks.base import TASKS
from seqtrain_cli import evaluate, generate, preprocess, train
from seqtrain_cli.entry import run_command

import_built_ins()

SPLITS = ("train", "valid", "test")
TRAIN = [
    "log_writer=[jsonl]",
    "device=cpu",
    "lr_scheduler=constant",
    "optimization.max_update=2",
    "dataset.batch_size=4",
]
Words = tuple[list[str], list[str]]
"""Words of seqtrain-preprocess and of seqtrain-train."""


def text_words(folder: Path, task: str, model: str, criterion: str) -> Words:
    for index, split in enumerate(SPLITS):
        lines = [f"{'abcd'[(index + i) % 4]} e {'abcd'[i % 4]}" for i in range(12)]
        (folder / split).write_text("\n".join(lines) + "\n")
    named = [f"task.{split}=[{folder / split}]" for split in SPLITS]
    size = ["model.dim=8"]
    if not model.startswith("lstm"):
        size += ["model.num_heads=2", "model.layers=1"]
    data = [f"task={task}", "task.tokenizer=word", "task.tokens_per_sample=16"]
    return [*data, *named], [*data, f"model={model}", *size, f"criterion={criterion}"]


def translation(folder: Path) -> Words:
    for split in SPLITS:
        for side in ("src", "tgt"):
            (folder / f"{split}.{side}").write_text("a b\nb a\nb\n")
    named = [f"task.{split}={folder / split}" for split in SPLITS]
    words = ["task=translation", "task.source=src", "task.target=tgt", "task.tokenizer=word"]
    return [*words, *named], ["model=lstm", "model.dim=8", "generation.max_len_b=4"]


def forecasting(folder: Path) -> Words:
    waves = np.sin(np.arange(90.0)[:, None] * [0.3, 0.5])
    np.save(folder / "waves.npy", waves)
    words = ["task=forecasting", "task.look_back=8", "task.horizon=4"]
    return [*words, f"task.file={folder / 'waves.npy'}"], [
        *words,
        "model=nlinear",
        "criterion=regression",
    ]


def recognition(folder: Path) -> Words:
    write_toy_series(folder)
    named = [f"task.{split}={folder / split}.npz" for split in SPLITS]
    words = ["model=conv_classifier", "model.dim=8", "criterion=cross_entropy"]
    return ["task=recognition", *named], ["task=recognition", *words]


def segmentation(folder: Path) -> Words:
    for split in SPLITS:
        rows = [{"tokens": "abca"[: 2 + i % 3], "labels": "xyzx"[: 2 + i % 3]} for i in range(9)]
        write_jsonl(folder / f"{split}.jsonl", rows)
    named = [f"task.{split}={folder / split}.jsonl" for split in SPLITS]
    words = ["model=conv_classifier", "model.dim=8", "criterion=segmentation"]
    return ["task=segmentation", *named], ["task=segmentation", *words]


CASES: dict[str, Callable[[Path], Words]] = {
    "translation": translation,
    "forecasting": forecasting,
    "recognition": recognition,
    "segmentation": segmentation,
    "language_modeling": lambda f: text_words(f, "language_modeling", "lstm_lm", "cross_entropy"),
    "masked_lm": lambda f: text_words(f, "masked_lm", "transformer_encoder", "masked_lm"),
    "denoising": lambda f: text_words(f, "denoising", "lstm", "cross_entropy"),
}


def test_every_built_in_task_has_a_case_here() -> None:
    own = {n for n in TASKS.names() if TASKS.get(n).cls.__module__.startswith("seqtrain.")}
    assert own == set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("task", CASES)
def test_a_task_goes_through_all_commands(
    tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    folder, data, run_dir = tmp_path / "raw", tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    prepare, settings = CASES[task](folder)
    assert run_command(preprocess.COMMAND, [*prepare, f"out={data}"]) == 0
    words = [*settings, *TRAIN, f"task.data={data}", f"run_dir={run_dir}"]
    assert run_command(train.COMMAND, words) == 0
    capsys.readouterr()
    words = [f"checkpoint={run_dir}", "device=cpu", "split=test"]
    assert run_command(evaluate.COMMAND, words) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((run_dir / "test_metrics.json").read_text())
    assert written.pop("num_updates") == 2
    # Bit by bit, but where NaN says that nothing was counted.
    assert {k: str(printed[k]) for k in written} == {k: str(v) for k, v in written.items()}
    if load(run_dir, device="cpu").task.predicts:
        assert run_command(generate.COMMAND, words) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["id"] for row in rows] == list(range(len(rows)))
        assert len(rows) > 0
