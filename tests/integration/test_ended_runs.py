"""A run that has ended, and then goes on: what is said, and what its record tells."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_command import overrides
from toy_run import toy_config, write_toy_text

from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.pipeline import load, train
from seqtrain_cli import evaluate, generate
from seqtrain_cli import train as command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the text and a run that has ended at update 6."""
    folder = tmp_path_factory.mktemp("ended")
    write_toy_text(folder / "text", num_train=12, num_valid=2)
    train(settings(folder, folder / "run", 6))
    return folder


def settings(folder: Path, run_dir: Path, max_update: int, **sections: Any) -> dict[str, Any]:
    limits = {"max_update": max_update, "max_epoch": 0}
    sections = {"log_writer": {"jsonl": {}, "console": {}}, "optimization": limits} | sections
    return toy_config(folder / "text", run_dir, **sections)


@pytest.fixture
def ended(folder: Path, tmp_path: Path) -> Path:
    """Returns a copy of the run."""
    shutil.copytree(folder / "run", tmp_path / "run")
    return tmp_path / "run"


def rows(run_dir: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if "wall" in row]


def test_a_run_that_has_ended_says_how_it_goes_on_and_keeps_its_record(
    run: Any, folder: Path, ended: Path
) -> None:
    before = (ended / "config.json").read_bytes()
    changed = {"checkpoint": {"init_from": str(folder / "other")}}
    outcome = run(command.COMMAND, *overrides(settings(folder, ended, 4, **changed)))
    assert outcome.exit_code == 0
    assert (
        "This run has ended at update 6: write optimization.max_update=M with M > 6 to go on, or "
        "take another run_dir.\n"
    ) in outcome.out
    assert "finished after" not in outcome.out
    assert "changed since the checkpoint: optimization.max_update 6 -> 4" in outcome.out
    assert (ended / "config.json").read_bytes() == before
    assert list(ended.glob("config.*.json")) == []


def test_a_run_that_goes_on_keeps_what_its_updates_were_made_with(
    run: Any, folder: Path, ended: Path
) -> None:
    before = json.loads((ended / "config.json").read_text())
    changed = {"checkpoint": {"init_from": str(folder / "other")}}
    outcome = run(command.COMMAND, *overrides(settings(folder, ended, 8, **changed)))
    assert "finished after 8 updates" in outcome.out
    assert json.loads((ended / "config.6.json").read_text()) == before
    now = json.loads((ended / "config.json").read_text())
    assert now["optimization"]["max_update"] == 8
    # The other run gave it nothing.
    assert now["checkpoint"]["init_from"] == ""
    assert load(ended, device="cpu").config.checkpoint.init_from == ""


def test_both_clocks_go_on_where_the_run_does(folder: Path, ended: Path) -> None:
    before = rows(ended)[-1]
    train(settings(folder, ended, 12))
    walls = [row["wall"] for row in rows(ended)]
    assert walls == sorted(walls)
    first = next(row for row in rows(ended) if row["num_updates"] > 6)
    for name in ("wall", "train_wall"):
        assert first[name] > before[name]
    assert all(row["wall"] >= row["train_wall"] for row in rows(ended))


def test_a_command_without_the_data_names_the_key_that_it_has(
    refused: Any, folder: Path, ended: Path
) -> None:
    words = [f"checkpoint={ended}", "device=cpu"]
    expected = ["none/card.json", "name the prepared folder with data=FOLDER"]
    refused(3, expected, evaluate.COMMAND, *words, "data=none")
    refused(3, expected, generate.COMMAND, *words, "data=none")
    typed = ["no key 'task.data'", "Did you mean data?"]
    refused(2, typed, evaluate.COMMAND, *words, "task.data=none")


def test_a_truncated_checkpoint_is_told_with_one_that_can_be_used(
    refused: Any, folder: Path, ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = ended / "checkpoints/step-0000000006"
    (newest / "model.safetensors").write_bytes(b"short")
    monkeypatch.chdir(ended.parent)
    whole = "checkpoint=run/checkpoints/step-0000000004"
    expected = ["model.safetensors: 5 bytes", f"Another one of this run is whole: {whole}"]
    refused(4, expected, evaluate.COMMAND, "checkpoint=run", "device=cpu")
    assert load(whole.partition("=")[2], device="cpu").config.seed == 3


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"checkpoint": {"init_from": "STEP"}}, "checkpoint.init_from"),
        (
            {"criterion": {"name": "knowledge_distillation", "teacher": "STEP"}},
            "criterion.teacher",
        ),
    ],
)
def test_the_whole_one_is_named_with_the_key_that_named_the_damaged_one(
    folder: Path, ended: Path, tmp_path: Path, section: dict[str, Any], key: str
) -> None:
    newest = ended / "checkpoints/step-0000000006"
    (newest / "model.safetensors").write_bytes(b"short")
    values = json.loads(json.dumps(section).replace("STEP", str(newest)))
    with pytest.raises(CheckpointError, match=f"is whole: {key}=.*step-0000000004$"):
        train(settings(folder, tmp_path / "new", 1, **values))
    assert not (tmp_path / "new").exists()


def test_a_language_model_that_is_damaged_is_told_by_its_key(ended: Path) -> None:
    newest = ended / "checkpoints/step-0000000006"
    (newest / "model.safetensors").write_bytes(b"short")
    whole = ended / "checkpoints/step-0000000004"
    with pytest.raises(CheckpointError, match="is whole: language_model="):
        load(whole, device="cpu", language_model=newest)
    with pytest.raises(ConfigError, match="language_model: .* Name a run of"):
        load(whole, device="cpu", language_model=whole)
