"""The example of language modelling, as its README says it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/language_modeling"
# A file beside the checkout, or wherever the variable says; nothing of it is in the project.
SHAKESPEARE = Path(
    os.environ.get("SEQTRAIN_SHAKESPEARE", ROOT.parent / "shared/data/tinyshakespeare/input.txt")
)


def run(*words: str) -> str:
    """Runs a command of this environment in the checkout; returns what it printed."""
    program = Path(sys.executable).parent / words[0]
    done = subprocess.run(
        [str(program), *words[1:]], cwd=ROOT, text=True, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def preprocess(folder: Path, tokenizer: str, **splits: str) -> str:
    """Prepares text; returns the folder."""
    texts = [f"task.{split}=[{folder}/{path}]" for split, path in splits.items()]
    settings = ["task=language_modeling", "task.documents=file", f"task.tokenizer={tokenizer}"]
    run("seqtrain-preprocess", *settings, *texts, f"out={folder}/data")
    return f"{folder}/data"


def shakespeare_loss(folder: Path, *settings: str) -> float:
    """Follows the README; returns the last validation loss."""
    run("python", str(EXAMPLE / "prepare_shakespeare.py"), str(SHAKESPEARE), str(folder))
    data = preprocess(folder, "char", train="train.txt", valid="valid.txt")
    run_dir = f"run_dir={folder}/run"
    run("seqtrain-train", "experiment=shakespeare_char", f"task.data={data}", run_dir, *settings)
    rows = [json.loads(x) for x in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return next(float(row["valid_loss"]) for row in rows[::-1] if row["event"] == "valid")


@pytest.mark.slow
def test_characters_of_shakespeare_reach_1_88_nats(tmp_path: Path) -> None:
    if not SHAKESPEARE.is_file():
        pytest.skip(f"{SHAKESPEARE} is not there; SEQTRAIN_SHAKESPEARE names another file")
    assert shakespeare_loss(tmp_path) <= 1.88


@pytest.mark.slow
def test_a_model_of_the_standard_library_learns_and_counts_the_bytes_of_its_files(
    tmp_path: Path,
) -> None:
    printed = run("python", str(EXAMPLE / "prepare_python.py"), str(tmp_path))
    assert "xz -9e of test: " in printed
    data = preprocess(tmp_path, "byte", train="train/*.py", valid="valid/*.py", test="test/*.py")
    run(
        "seqtrain-train",
        "experiment=python_bytes",
        f"task.data={data}",
        f"run_dir={tmp_path}/run",
        "optimization.max_update=20",
        "lr_scheduler.warmup_updates=5",
        "task.context_window=0",
    )
    values = json.loads((tmp_path / "run/test_metrics.json").read_text())
    assert values["test_bits_per_byte"] < 6.0
