"""Bad input to seqtrain-preprocess and seqtrain-train: one line, the exit code, nothing left."""

import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_command import overrides
from toy_run import run_forked, toy_config

from seqtrain.data.text.parallel_preprocess import open_prepared
from seqtrain.files import RunLock
from seqtrain_cli import evaluate, preprocess, train
from seqtrain_cli.entry import run_command


def preprocess_words(text: Path, out: Path) -> list[str]:
    splits = [f"task.{split}={text / split}" for split in ("train", "valid", "test")]
    return [*splits, "task.source=x", "task.target=y", "task.tokenizer=word", f"out={out}"]


def train_words(text: Path, run_dir: Path, **sections: Any) -> list[str]:
    short = {"max_update": 2}
    return overrides(toy_config(text, run_dir, optimization=short, **sections))


def with_line(number: int, line: bytes) -> Callable[[Path], None]:
    """Returns what puts a line in the place of another one; the first is 1."""

    def replace(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number - 1] = line + b"\n"
        path.write_bytes(b"".join(lines))

    return replace


def without_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def with_empty_lines_alone(path: Path) -> None:
    path.write_bytes(b"\n" * len(path.read_bytes().splitlines()))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS: dict[str, tuple[str, Callable[[Path], None], list[str]]] = {
    "line counts": (
        "valid.y",
        without_last_line,
        ["{text}/valid.x has 9 lines and {text}/valid.y has 8", "restore the missing lines"],
    ),
    "UTF-8": ("train.x", with_line(3, b"a \xff"), ["{path}:3: byte 3: 0xff is not UTF-8"]),
    "lone CR": ("train.y", with_line(5, b"a\rb"), ["{path}:5: byte 2: a carriage return inside"]),
    "NUL": ("test.x", with_line(2, b"\0"), ["{path}:2: byte 1: a NUL: remove it"]),
    "empty file": ("valid.x", emptied, ["{path}: the file is"]),
    "all lines empty": ("train.y", with_empty_lines_alone, ["no pair has text on both sides"]),
    "missing file": ("test.y", Path.unlink, ["{path}: No such file", "Give the path of a file"]),
    "a folder": ("test.y", a_folder, ["{path}: Is a"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_text_that_cannot_be_used_is_refused_and_mended_text_is_taken(
    refused: Any, run: Any, text: Path, tmp_path: Path, name: str
) -> None:
    file, damage, expected = FAULTS[name]
    whole = shutil.copytree(text, tmp_path / "whole")
    damage(text / file)
    texts = [each.format(path=text / file, text=text) for each in expected]
    preparing = preprocess_words(text, tmp_path / "data")
    training = train_words(text, tmp_path / "run")
    refused(3, texts, preprocess.COMMAND, *preparing)
    assert {path.name for path in tmp_path.iterdir()} == {"text", "whole"}
    refused(3, texts, train.COMMAND, *training)
    assert not (tmp_path / "run").exists()
    shutil.rmtree(text)
    whole.rename(text)
    assert run(preprocess.COMMAND, *preparing).exit_code == 0
    assert run(train.COMMAND, *training).exit_code == 0


@pytest.mark.parametrize("command", ["preprocess", "train"])
def test_a_line_of_50_megabytes_is_refused_in_little_memory(
    text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    with (text / "train.x").open("ab") as file:
        for _ in range(50):
            file.write(b"abcdefg " * 125_000)
        file.write(b"\n")
    with (text / "train.y").open("ab") as file:
        file.write(b"a\n")
    # Imported and composed before, so that only the reading counts.
    assert run_command(train.COMMAND, ["--cfg", "job"]) == 0

    def attempt() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if command == "train":
            exit_code = run_command(train.COMMAND, train_words(text, tmp_path / "run"))
        else:
            exit_code = run_command(preprocess.COMMAND, preprocess_words(text, tmp_path / "data"))
        grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert exit_code == 3
        assert grown_kilobytes < 40_000, grown_kilobytes

    assert run_forked(attempt) == 0
    error = capfd.readouterr().err
    assert f"{text / 'train.x'}:49: byte 1000001: the line is longer than 1000000 bytes" in error
    assert error.count("\n") == 1


def test_windows_line_ends_mean_the_same_as_others(run: Any, text: Path, tmp_path: Path) -> None:
    windows = shutil.copytree(text, tmp_path / "windows")
    for path in windows.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for folder in (text, windows):
        out = tmp_path / f"data_{folder.name}"
        assert run(preprocess.COMMAND, *preprocess_words(folder, out)).exit_code == 0
    plain = tmp_path / "data_text"
    for path in plain.iterdir():
        if path.name != "card.json":  # names the raw files
            assert path.read_bytes() == (tmp_path / "data_windows" / path.name).read_bytes()


def test_empty_lines_are_dropped_from_training_and_kept_in_evaluation(
    run: Any, text: Path, tmp_path: Path
) -> None:
    for name in ("train.x", "valid.x", "test.y"):
        with_line(4, b"")(text / name)
    outcome = run(preprocess.COMMAND, *preprocess_words(text, tmp_path / "data"))
    assert outcome.exit_code == 0
    assert "train: 47 pairs, 1 with an empty side dropped; " in outcome.out
    assert "valid: 9 pairs; " in outcome.out
    data = open_prepared(tmp_path / "data")
    assert [len(data.stores(split)[0]) for split in data.splits()] == [47, 9, 9]
    assert data.references("test")[3] == [""]
    for name, section in (("raw", {}), ("prepared", {"task": {"data": str(tmp_path / "data")}})):
        words = train_words(text, tmp_path / name, log_writer={"console": {}}, **section)
        outcome = run(train.COMMAND, *words)
        assert outcome.exit_code == 0
        assert "47 of 47 examples in" in outcome.out
    states = [tmp_path / name / "checkpoints/step-0000000002" for name in ("raw", "prepared")]
    one, other = ((state / "model.safetensors").read_bytes() for state in states)
    assert one == other


def test_a_split_that_is_not_there_is_named_with_those_that_are(
    refused: Any, run: Any, text: Path, tmp_path: Path
) -> None:
    words = train_words(text, tmp_path / "run")
    named = refused(
        2,
        ["validation.splits names 'vaild'", "train, valid, test", "validation.splits=[]"],
        train.COMMAND,
        *words,
        "validation.splits=[vaild]",
    )
    assert named.out == ""
    without = [word for word in words if not word.startswith("task.valid=")]
    refused(2, ["validation.splits names 'valid'", "train, test"], train.COMMAND, *without)
    assert run(train.COMMAND, *words).exit_code == 0
    checkpoint = [f"checkpoint={tmp_path / 'run'}", "device=cpu"]
    expected = ["There is no split 'dev'", "train, valid, test"]
    refused(3, expected, evaluate.COMMAND, *checkpoint, "split=dev")


def test_a_plugin_that_raises_leaves_nothing_that_blocks_the_mended_one(
    refused: Any, run: Any, text: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("raise OSError('no luck')")
    words = [*train_words(text, tmp_path / "run"), f"plugins=[{plugin}]"]
    refused(2, [f"fails at {plugin}:1: OSError: no luck."], train.COMMAND, *words)
    assert {path.name for path in tmp_path.iterdir()} == {"text", "plugin.py"}
    plugin.write_text("")
    assert run(train.COMMAND, *words).exit_code == 0


def test_a_file_in_the_place_of_the_run_directory_is_named(
    refused: Any, run: Any, text: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run_dir.write_text("mine")
    words = train_words(text, run_dir)
    expected = [f"Cannot write in the directory {run_dir}", "it is a file", "Choose another"]
    refused(5, expected, train.COMMAND, *words)
    assert run_dir.read_text() == "mine"
    run_dir.unlink()
    assert run(train.COMMAND, *words).exit_code == 0


def test_a_file_in_the_place_of_the_checkpoints_is_named(
    refused: Any, run: Any, text: Path, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.parent.mkdir()
    checkpoints.write_text("mine")
    words = train_words(text, tmp_path / "run")
    refused(5, [str(checkpoints), "it is a file", "Choose another"], train.COMMAND, *words)
    checkpoints.unlink()
    assert run(train.COMMAND, *words).exit_code == 0


def test_a_run_directory_in_use_is_refused_until_the_other_run_ends(
    refused: Any, run: Any, text: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with RunLock(run_dir):
            os.write(writing, b"!")
            signal.pause()
    os.read(reading, 1)
    words = train_words(text, run_dir)
    try:
        expected = [f"{run_dir} is in use by pid {pid} on host", "or choose another run_dir"]
        refused(5, expected, train.COMMAND, *words)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert {path.name for path in run_dir.iterdir()} == {"run.lock"}
    assert run(train.COMMAND, *words).exit_code == 0


@pytest.mark.parametrize(
    "name", ["train.x.tokens", "train.y.index", "dict.x.txt", "tokenizer.y.json"]
)
def test_a_damaged_data_folder_is_named_and_preparing_again_mends_it(
    refused: Any, run: Any, text: Path, tmp_path: Path, name: str
) -> None:
    data = tmp_path / "data"
    preparing = preprocess_words(text, data)
    assert run(preprocess.COMMAND, *preparing).exit_code == 0
    path = data / name
    path.write_bytes(path.read_bytes()[:-7])
    words = train_words(text, tmp_path / "run", task={"data": str(data)})
    refused(3, [f"{path}: ", "run seqtrain-preprocess again"], train.COMMAND, *words)
    assert run(preprocess.COMMAND, *preparing).exit_code == 0
    assert run(train.COMMAND, *words).exit_code == 0


def test_the_way_out_of_a_card_that_cannot_be_used_works(
    refused: Any, run: Any, text: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    preparing = preprocess_words(text, data)
    words = train_words(text, tmp_path / "run", task={"data": str(data)})
    assert run(preprocess.COMMAND, *preparing).exit_code == 0
    card = data / "card.json"
    card.write_text(card.read_text().replace('"version": 1', '"version": 99'))
    expected = [f"{card}: version 99", "Run seqtrain-preprocess again"]
    refused(3, expected, train.COMMAND, *words)
    assert run(preprocess.COMMAND, *preparing).exit_code == 0
    # Without a card that can be read, the folder could be anybody's.
    card.write_bytes(card.read_bytes()[:-7])
    expected = [f"{card}: not JSON", "remove the folder and run seqtrain-preprocess again"]
    refused(3, expected, train.COMMAND, *words)
    refused(2, ["Name another folder"], preprocess.COMMAND, *preparing)
    shutil.rmtree(data)
    assert run(preprocess.COMMAND, *preparing).exit_code == 0
    assert run(train.COMMAND, *words).exit_code == 0
