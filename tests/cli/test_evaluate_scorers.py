"""seqtrain-evaluate with scorers of the user's choice, on every kind of task."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelled_toy import write_jsonl
from toy_run import toy_config, write_toy_text

from seqtrain.pipeline import train
from seqtrain_cli import evaluate
from seqtrain_cli.entry import run_command

Report = Callable[..., dict[str, Any]]
FEW = {"max_update": 2}


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    def evaluated(run: Path, *words: str, exit_code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert (
            run_command(evaluate.COMMAND, [f"checkpoint={run}", "device=cpu", *words]) == exit_code
        )
        captured = capsys.readouterr()
        found: dict[str, Any] = json.loads(captured.out or "{}")
        return found | {"stderr": captured.err}

    return evaluated


def labelled_run(folder: Path, task: str) -> Path:
    """Trains a few updates on letters with a class each, or one for each letter."""
    rows: list[dict[str, Any]] = []
    for index in range(12):
        tokens = "abca"[: 2 + index % 3]
        labels = "xyzx"[: len(tokens)]
        named = {"labels": list(labels)} if task == "segmentation" else {"label": labels[-1]}
        rows.append({"tokens": list(tokens)} | named)
    for split in ("train", "valid", "test"):
        write_jsonl(folder / f"{split}.jsonl", rows)
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "valid", "test")}
    config = toy_config(folder, folder / "run", optimization=FEW)
    config["task"] = {"name": task} | files
    config["model"] = {"name": "conv_classifier", "dim": 8}
    config["criterion"] = {"name": "segmentation" if task == "segmentation" else "cross_entropy"}
    config["dataset"] = {"batch_size": 4}
    train(config)
    return folder / "run"


def test_any_scorers_replace_those_of_the_run(report: Report, tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    train(toy_config(text, tmp_path / "run", optimization=FEW))
    found = report(tmp_path / "run", "scorers=[chrf,ter,accuracy,perplexity]")
    assert {"test_chrf", "test_ter", "test_accuracy", "test_perplexity"} <= found.keys()
    assert "test_wer" not in found
    assert found["test_perplexity"] == pytest.approx(math.exp(found["test_nll_loss"]))
    references = (text / "test.y").read_bytes()
    num_targets = len(references.split()) + references.count(b"\n")
    bits = found["test_nll_loss"] * num_targets / math.log(2.0) / len(references)
    assert found["test_bits_per_byte"] == pytest.approx(bits)
    alone = report(tmp_path / "run", "scorers=perplexity")
    assert alone["test_perplexity"] == found["test_perplexity"]
    assert "test_chrf" not in alone


def test_classes_are_compared_as_texts(report: Report, tmp_path: Path) -> None:
    run = labelled_run(tmp_path, "recognition")
    found = report(run, "scorers=[accuracy,wer,perplexity]")
    own = report(run)
    assert found["test_wer"] == pytest.approx(100.0 - found["test_accuracy"])
    assert found["test_accuracy"] == pytest.approx(own["test_accuracy"])
    assert found["test_perplexity"] == pytest.approx(math.exp(own["test_nll_loss"]))
    assert "test_bits_per_byte" not in found
    assert "test_wer" not in own


def test_labels_of_positions_are_compared_as_texts(report: Report, tmp_path: Path) -> None:
    run = labelled_run(tmp_path, "segmentation")
    own = report(run)
    # Edits may also shift labels, so there are at most as many as wrong positions.
    assert report(run, "scorers=wer")["test_wer"] <= 100.0 - own["test_accuracy"] + 1e-9


def test_a_task_without_texts_refuses_scorers_of_texts_in_one_line(
    report: Report, tmp_path: Path
) -> None:
    lines = tmp_path / "text"
    lines.write_text("a b\nb a\n" * 8)
    config = toy_config(tmp_path, tmp_path / "run", optimization=FEW)
    files = {split: [str(lines)] for split in ("train", "valid", "test")}
    config["task"] = {
        "name": "language_modeling",
        "tokenizer": "word",
        "tokens_per_sample": 16,
    } | files
    config["model"] = {"name": "lstm_lm", "dim": 8}
    config["criterion"] = {"name": "cross_entropy"}
    train(config)
    found = report(tmp_path / "run", "scorers=[bleu]", exit_code=2)
    assert found["stderr"].count("\n") == 1
    assert "has no texts to compare with: leave out scorers" in found["stderr"]
    assert report(tmp_path / "run", "scorers=[blue]", exit_code=2)["stderr"].count("bleu") >= 1
    found = report(tmp_path / "run", "scorers=[perplexity]")
    assert found["test_perplexity"] == pytest.approx(found["test_ppl"])
    assert found["test_bits_per_byte"] > 0.0


def test_the_best_checkpoint_is_chosen_by_a_validated_score(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    config = toy_config(
        text,
        tmp_path / "run",
        optimization={"max_update": 8},
        validation={"generate": True, "validate_interval_updates": 2},
        checkpoint={"best_metric": "valid_wer", "save_interval_updates": 2},
    )
    config["task"]["scorers"] = ["wer", "perplexity"]
    result = train(config)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    validated = [row["valid_wer"] for row in rows if "valid_wer" in row]
    assert len(validated) == 4
    assert result.best_metric == min(validated)
    assert all(
        row["valid_perplexity"] == pytest.approx(row["valid_ppl"])
        for row in rows
        if "valid_wer" in row
    )
