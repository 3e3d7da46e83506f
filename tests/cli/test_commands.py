"""The commands one after the other on a tiny task: prepare, train, generate, evaluate, look."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqtrain_cli import evaluate, generate, preprocess, train
from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command
from seqtrain_cli.info import main as info

ROOT = Path(__file__).resolve().parents[2]
NUM_TEST = 4
TRAIN = [
    "model.dim=16",
    "model.ffn_dim=16",
    "model.num_heads=2",
    "model.encoder_layers=1",
    "model.decoder_layers=1",
    "log_writer=[jsonl]",
    "optimization.max_update=4",
    "validation.validate_interval_updates=4",
    "lr_scheduler.warmup_updates=2",
    "generation.max_len_b=8",
    "generation.beam=2",
    "device=cpu",
]


def run(command: Command, *words: str) -> int:
    return run_command(command, words)


@pytest.fixture(scope="module", autouse=True)
def no_installed_plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
        patch.delenv("SEQTRAIN_PLUGINS", raising=False)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds text, the prepared `data`, and a trained `run`."""
    folder = tmp_path_factory.mktemp("commands")
    for split, size in (("train", 40), ("valid", NUM_TEST), ("test", NUM_TEST)):
        rows = [[*"abcd"[index % 4 :], "e"] for index in range(size)]
        source, target = folder / f"{split}.src", folder / f"{split}.tgt"
        source.write_text("".join(" ".join(row) + "\n" for row in rows))
        target.write_text("".join(" ".join(reversed(row)) + "\n" for row in rows))
    words = [f"task.{split}={folder / split}" for split in ("train", "valid", "test")]
    words += ["task.source=src", "task.target=tgt", "task.tokenizer=word"]
    assert run(preprocess.COMMAND, *words, f"out={folder / 'data'}") == 0
    assert train_in(folder, folder / "run") == 0
    return folder


def train_in(folder: Path, run_dir: Path, *words: str) -> int:
    return run(train.COMMAND, f"task.data={folder / 'data'}", f"run_dir={run_dir}", *TRAIN, *words)


def test_training_leaves_checkpoints_metrics_and_the_configuration(folder: Path) -> None:
    assert (folder / "run/checkpoints/step-0000000004").is_dir()
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert rows
    assert json.loads((folder / "run/config.json").read_text())["model"]["dim"] == 16
    assert "test_loss" in json.loads((folder / "run/test_metrics.json").read_text())


def test_the_same_command_again_has_nothing_left_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    assert train_in(folder, tmp_path / "run") == 0
    assert f"configuration in {tmp_path / 'run/config.json'}" in capsys.readouterr().out


def test_a_run_is_not_continued_with_another_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    assert train_in(folder, tmp_path / "run", "model.dim=32") == 2
    assert "model.dim was 16, is 32" in capsys.readouterr().err


def test_generate_writes_a_json_line_for_each_example_of_a_split(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new/out.jsonl"
    words = [f"checkpoint={folder / 'run'}", "generation.nbest=2", "device=cpu"]
    assert run(generate.COMMAND, *words, f"output={output}") == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(NUM_TEST))
    for row in rows:
        scores = [hypothesis["score"] for hypothesis in row["hypotheses"]]
        assert len(scores) == 2
        assert scores == sorted(scores, reverse=True)


def test_generate_reads_standard_input_and_keeps_the_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.write(writing, "a b c d\nd\n\nunknown\u2028 wörd\n".encode())
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert run(generate.COMMAND, f"checkpoint={folder / 'run'}", "input=-", "device=cpu") == 0
    finally:
        os.dup2(before, 0)
    rows = [json.loads(line) for line in capsys.readouterr().out.split("\n") if line]
    assert [row["source"] for row in rows] == ["a b c d", "d", "", "unknown\u2028 wörd"]
    assert all(len(row["hypotheses"]) == 1 for row in rows)


def test_generate_reads_a_file_and_says_where_it_cannot(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"checkpoint={folder / 'run'}"
    (tmp_path / "in.txt").write_bytes(b"a b\n\xff\n")
    assert run(generate.COMMAND, checkpoint, f"input={tmp_path / 'in.txt'}", "device=cpu") == 0
    captured = capsys.readouterr()
    assert ["error" in json.loads(row) for row in captured.out.splitlines()] == [False, True]
    assert "line 2 has no output: the line is not UTF-8" in captured.err
    assert run(generate.COMMAND, checkpoint, f"input={tmp_path / 'no.txt'}", "device=cpu") == 3
    assert "no.txt cannot be read: No such file" in capsys.readouterr().err


def test_evaluate_prints_and_writes_the_same_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.json"
    words = [f"checkpoint={folder / 'run'}", "device=cpu", f"output={output}"]
    assert run(evaluate.COMMAND, *words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(output.read_text())
    final = json.loads((folder / "run/test_metrics.json").read_text())
    assert printed["test_loss"] == pytest.approx(final["test_loss"], rel=1e-5)
    assert printed["test_bleu"] == pytest.approx(final["test_bleu"])


def test_options_of_search_not_given_are_those_of_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"checkpoint={folder / 'run'}", "device=cpu"]
    assert run(generate.COMMAND, *words, "generation.nbest=3") == 2
    assert "generation.nbest must be 1 to generation.beam (2), got 3" in capsys.readouterr().err


def test_info_verifies_a_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info([f"checkpoint={folder / 'run'}"]) == 0
    page = capsys.readouterr().out
    assert "step-0000000004: every file is as it was written" in page
    assert "after update 4, in epoch " in page
    assert "model transformer" in page
    shutil.copytree(folder / "run/checkpoints/step-0000000004", tmp_path / "step-0000000004")
    path = tmp_path / "step-0000000004/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert info([f"checkpoint={tmp_path / 'step-0000000004'}"]) == 4
    assert "model.safetensors" in capsys.readouterr().err


def test_info_reports_what_prepared_data_is_like(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info([f"data={folder / 'data'}", "max_tokens=300"]) == 0
    shown = capsys.readouterr().out
    assert all(what in shown for what in ("lengths", "% unknown", "max_tokens=300", "example 0"))
    assert info([f"data={folder / 'data'}", "max_tokens=few"]) == 2
    assert "max_tokens must be at least 1, got 'few'" in capsys.readouterr().err
    assert info([f"data={tmp_path}"]) == 3
    assert "card.json: No such file" in capsys.readouterr().err


def test_info_lists_kinds_names_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert info([]) == 0
    assert "optimizer      " in capsys.readouterr().out
    assert info(["optimizer"]) == 0
    assert "sgd    " in capsys.readouterr().out
    assert info(["optimizer=sgd"]) == 0
    assert "  momentum: float = 0.0\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["modle"], "Did you mean 'model'?"),
        (["model=transfomer"], "No model named 'transfomer'. Did you mean 'transformer'?"),
        (["chekpoint=x"], "Did you mean 'checkpoint'?"),
        (["--model"], "is not an option"),
    ],
)
def test_info_names_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert info(words) == 2
    assert expected in capsys.readouterr().err


def test_faults_of_the_surroundings_have_their_exit_codes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert train_in(folder, tmp_path / "file/run") == 5
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert run(train.COMMAND, f"task.data={tmp_path}", f"run_dir={tmp_path / 'r'}") == 3
    assert str(tmp_path) in capsys.readouterr().err
    assert run(evaluate.COMMAND, f"checkpoint={tmp_path / 'none'}") == 4
    assert str(tmp_path / "none") in capsys.readouterr().err
    output = f"output={tmp_path / 'file/out.json'}"
    assert run(generate.COMMAND, f"checkpoint={folder / 'run'}", output, "device=cpu") == 5
    assert "cannot be written" in capsys.readouterr().err
    assert run(generate.COMMAND) == 2
    assert "checkpoint is not set" in capsys.readouterr().err
    assert run(preprocess.COMMAND) == 2
    assert "out is not set" in capsys.readouterr().err
    leftovers = sorted(path.name for path in tmp_path.iterdir())
    assert "none" not in leftovers


def test_an_outside_package_trains_installed_and_as_a_file(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(ROOT / "examples/plugin", package, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target"]
    subprocess.run([*pip, *options, str(tmp_path / "site"), str(package)], check=True)
    words = [*TRAIN[5:], "model=gru", "model.dim=8", "criterion=clipped_cross_entropy"]
    words = [f"task.data={folder / 'data'}", *words]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEQTRAIN_")}
    done = subprocess.run(
        [sys.executable, "-m", "seqtrain_cli.train", *words, f"run_dir={tmp_path / 'installed'}"],
        cwd=package,
        env=environment | {"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plugin = f"plugins=[{package / 'seqtrain_gru.py'}]"
    assert run(train.COMMAND, *words, plugin, f"run_dir={tmp_path / 'file'}") == 0
    models = []
    for name in ("installed", "file"):
        checkpoint = tmp_path / name / "checkpoints/step-0000000004"
        assert "seqtrain_gru" in (checkpoint / "manifest.json").read_text()
        models.append((checkpoint / "model.safetensors").read_bytes())
    assert models[0] == models[1]
