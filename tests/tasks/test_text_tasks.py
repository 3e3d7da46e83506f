"""What each task on plain text must do: learn, resume to the bit, and not depend on the ranks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from distributed.processes import run_in_processes
from toy_run import final_state, history, run_forked
from toy_text import toy_text_config, write_toy_documents

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError, DataError
from seqtrain.pipeline import train
from seqtrain.plugins import import_built_ins
from seqtrain.tasks.base import TASKS
from seqtrain.training.build import build_run
from seqtrain.training.resume import first_difference
from seqtrain.training.run_config import RunConfig

# Threads of torch do not survive a fork.
torch.set_num_threads(1)
import_built_ins()

STACK = {"dim": 32, "num_heads": 4, "layers": 2, "dropout": 0.0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer_lm": ("language_modeling", STACK),
    "lstm_lm": ("language_modeling", {"dim": 32, "dropout": 0.1}),
    "transformer_encoder": ("masked_lm", STACK),
    "transformer": (
        "denoising",
        {"dim": 32, "ffn_dim": 64, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
    ),
}
"""Each model with the task that it is made for."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_documents(tmp_path_factory.mktemp("text"))


MASKING = {"rate": 0.25, "unchanged": 0.0, "random": 0.0}


def config_of(text: Path, run_dir: Path, model: str, **sections: Any) -> dict[str, Any]:
    task, fields = MODELS[model]
    config = toy_text_config(text, run_dir, task, {"name": model} | fields, **sections)
    if task == "masked_lm":
        config["task"]["masking"] = MASKING
    return config


@pytest.mark.parametrize("name", MODELS)
def test_forty_updates_halve_the_loss(text: Path, tmp_path: Path, name: str) -> None:
    config = config_of(
        text,
        tmp_path,
        name,
        dataset={"max_tokens": 768},
        optimizer={"name": "adam", "lr": 0.01},
        optimization={"max_update": 40, "max_epoch": 0},
        logging={"interval": 1},
    )
    train(config)
    rows = history(tmp_path)
    losses = [row["train_loss"] for row in rows if row["event"] == "train"]
    assert len(losses) == 40
    valid = next(row["valid_loss"] for row in reversed(rows) if row["event"] == "valid")
    assert valid < losses[0] / 2


@pytest.mark.parametrize("name", MODELS)
def test_a_killed_run_ends_as_if_never_interrupted(text: Path, tmp_path: Path, name: str) -> None:
    straight, snapshots = tmp_path / "straight", tmp_path / "snapshots"
    limits = {"optimization": {"max_update": 6, "max_epoch": 0}, "dataset": {"max_tokens": 768}}
    config = config_of(
        text,
        straight,
        name,
        checkpoint={"save_interval_updates": 1},
        callback={"test_snapshot": {"into": str(snapshots)}},
        **limits,
    )
    assert run_forked(lambda: train(config)) == 0
    run_dir = snapshots / "4"  # in the middle of the second epoch
    assert run_forked(lambda: train(config_of(text, run_dir, name, **limits))) == 0
    assert first_difference(final_state(straight), final_state(run_dir), "state") == ""
    assert history(run_dir) == history(straight)


def evaluate_all(collectives: Collectives, folder: str) -> dict[str, dict[str, float]]:
    """Returns the values of the validation split by model, with untrained weights."""
    found = {}
    for name in MODELS:
        config = RunConfig.parse(config_of(Path(folder), Path(folder) / "run", name))
        run = build_run(config, collectives, torch.device("cpu"))
        found[name] = run.evaluator.evaluate("valid", generate=False).values
    return found


def test_two_ranks_with_uneven_shards_measure_what_one_does(text: Path) -> None:
    first, second = run_in_processes(evaluate_all, 2, str(text))
    alone = evaluate_all(Collectives(), str(text))
    assert first == second
    for name, values in alone.items():
        assert set(values) >= {"loss", "nll_loss", "ppl"}
        assert first[name] == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("task", ["language_modeling", "masked_lm", "denoising"])
def test_a_prepared_folder_gives_the_examples_of_the_raw_text(
    text: Path, tmp_path: Path, task: str
) -> None:
    entry = TASKS.get(task)
    section = toy_text_config(text, tmp_path, task, {})["task"]
    entry.cls.prepare(TASKS.parse(section), tmp_path / "data", 1)
    raw = entry.cls.load(TASKS.parse(section), 3)
    prepared = entry.cls.load(
        TASKS.parse({"name": task, "data": str(tmp_path / "data"), "tokens_per_sample": 24}), 3
    )
    assert prepared.splits() == raw.splits() == ["train", "valid", "test"]
    assert prepared.context == raw.context
    for split in raw.splits():
        one, other = raw.dataset(split), prepared.dataset(split)
        assert len(one) == len(other)
        indices = torch.arange(min(len(one), 7)).numpy()
        first, second = one.batch(indices, 2), other.batch(indices, 2)
        assert torch.equal(first.targets, second.targets)
        for name, tensor in first.inputs.items():
            assert torch.equal(tensor, second.inputs[name])


@pytest.mark.parametrize("task", ["language_modeling", "masked_lm", "denoising"])
def test_a_saved_task_knows_its_symbols_without_the_data(
    text: Path, tmp_path: Path, task: str
) -> None:
    config = TASKS.parse(toy_text_config(text, tmp_path, task, {})["task"])
    whole = TASKS.get(task).cls.load(config, 3)
    saved = TASKS.get(task).cls.from_state(config, whole.state_dict())
    assert saved.context == whole.context
    assert saved.vocabularies() == whole.vocabularies()
    sizes = {len(symbols) for symbols in whole.vocabularies().values()}
    assert sizes == {whole.context.target_vocab_size}
    with pytest.raises(DataError, match="no split 'valid'"):
        saved.dataset("valid")


@pytest.mark.parametrize("task", ["language_modeling", "masked_lm", "denoising"])
def test_a_wrong_setting_is_refused_by_name(task: str) -> None:
    wrong: dict[str, Any] = {
        "documents": "page",
        "tokens_per_sample": 1,
        "break_mode": "sentence",
    }
    for key, value in wrong.items():
        with pytest.raises(ConfigError, match=rf"task\.{key} must be"):
            TASKS.parse({"name": task, key: value})
    with pytest.raises(ConfigError, match=rf"task={task} has no data.*task\.train="):
        TASKS.get(task).cls.load(TASKS.parse({"name": task}), 1)
