"""Interrupted, in parts, or in several processes: what is prepared is the same, to the byte."""

import fcntl
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqtrain.data.prepare_options import PrepareOptions
from seqtrain.data.text import encoding
from seqtrain.data.text.monolingual_preprocess import prepare_text
from seqtrain.data.text.monolingual_text import TextSettings
from seqtrain.data.text.parallel_preprocess import open_prepared, prepare_parallel
from seqtrain.data.text.parallel_text import ParallelSettings
from seqtrain.data.tokenizers.sentencepiece import SentencePieceConfig
from seqtrain.data.tokenizers.word import WordTokenizerConfig
from seqtrain.errors import ConfigError, DataError, MachineError

Prepare = Callable[..., list[str]]
NUM_ROWS = 400


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(encoding, "CHUNK_ROWS", 7)
    monkeypatch.setattr(encoding, "ROWS_AT_ONCE", 3)
    generator = np.random.default_rng(0)
    for name, num_rows in (("train", NUM_ROWS), ("val", 30)):
        for language in ("en", "de"):
            sizes = generator.integers(0, 9, num_rows)
            rows = [" ".join(map(str, generator.integers(0, 300, size))) for size in sizes]
            (tmp_path / f"{name}.{language}").write_text("".join(f"{row}\n" for row in rows))
    return tmp_path


def pairs(text: Path, **changes: Any) -> Prepare:
    words = WordTokenizerConfig(name="word")
    fields: dict[str, Any] = {
        "source": "en",
        "target": "de",
        "prefixes": {"train": text / "train", "valid": text / "val"},
        "source_tokenizer": words,
        "target_tokenizer": words,
        "joined": True,
    }
    settings = ParallelSettings(**(fields | changes))
    return lambda out, **options: prepare_parallel(settings, out, PrepareOptions(**options))


def plain(text: Path, documents: str) -> Prepare:
    settings = TextSettings(
        paths={"train": [text / "train.en", text / "train.de"], "valid": [text / "val.en"]},
        tokenizer=WordTokenizerConfig(name="word"),
        documents=documents,
    )
    return lambda out, **options: prepare_text(settings, out, PrepareOptions(**options))


PREPARES: dict[str, Callable[[Path], Prepare]] = {
    "pairs": pairs,
    "blank": lambda text: plain(text, "blank"),
    "line": lambda text: plain(text, "line"),
    "file": lambda text: plain(text, "file"),
}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_and_kill(work: Callable[[], object], after_seconds: float) -> bool:
    """Does the work in a process that is killed after a time; says whether it was."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    time.sleep(after_seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


@pytest.mark.parametrize("name", ["pairs", "blank"])
def test_a_command_that_is_killed_anywhere_and_run_again_writes_the_same_bytes(
    text: Path, name: str
) -> None:
    prepare = PREPARES[name](text)
    began = time.monotonic()
    prepare(text / "whole")
    seconds = time.monotonic() - began
    whole = content(text / "whole")
    chance = random.Random(7)
    num_killed = 0
    for attempt in range(6):
        out = text / f"out{attempt}"
        for _ in range(3):
            num_killed += run_and_kill(lambda out=out: prepare(out), chance.uniform(0, seconds))
            assert not out.exists() or content(out) == whole
        prepare(out)
        assert content(out) == whole
        assert not Path(f"{out}.parts").exists()
    assert num_killed > 1


@pytest.mark.slow
def test_the_command_with_two_processes_can_be_killed_too(text: Path) -> None:
    words = ["task.source=en", "task.target=de", f"task.train={text / 'train'}"]
    words += [f"task.valid={text / 'val'}", "task.tokenizer=word", "num_workers=2"]
    command = [sys.executable, "-m", "seqtrain_cli.preprocess", "task=translation", *words]
    began = time.monotonic()
    subprocess.run([*command, f"out={text / 'whole'}"], check=True)
    seconds = time.monotonic() - began
    chance = random.Random(3)
    for _ in range(6):
        process = subprocess.Popen([*command, f"out={text / 'out'}"], start_new_session=True)
        time.sleep(seconds * chance.uniform(0.6, 1.0))
        process.kill()
        process.wait()
    subprocess.run([*command, f"out={text / 'out'}"], check=True)
    assert content(text / "out") == content(text / "whole")
    assert not (text / "out.parts").exists()


@pytest.mark.parametrize("cut_off", [1, 5, 1000])
def test_work_goes_on_behind_the_last_whole_record(
    text: Path, cut_off: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = pairs(text)
    prepare(text / "whole")
    prepare(text / "out", shard="1/2")
    log = text / "out.parts" / "train.1-of-2.pieces"
    complete = log.read_bytes()
    log.write_bytes(complete[:-cut_off] + b"\0" * (cut_off // 2))
    prepare(text / "out", shard="1/2")
    assert log.read_bytes() == complete
    prepare(text / "out", shard="2/2")
    prepare(text / "out", shard="join")
    assert content(text / "out") == content(text / "whole")


@pytest.mark.parametrize("name", PREPARES)
@pytest.mark.parametrize("num_parts", [2, 5])
def test_parts_that_are_joined_equal_the_whole(text: Path, name: str, num_parts: int) -> None:
    prepare = PREPARES[name](text)
    prepare(text / "whole")
    for number in random.Random(num_parts).sample(range(1, num_parts + 1), num_parts):
        lines = prepare(text / "out", shard=f"{number}/{num_parts}", num_workers=1 + number % 2)
        assert lines == [f"part {number} of {num_parts} is ready. When all are, run shard=join"]
        assert not (text / "out").exists()
    prepare(text / "out", shard="join")
    assert content(text / "out") == content(text / "whole")
    assert not (text / "out.parts").exists()


def test_parts_learn_one_tokenizer(text: Path) -> None:
    pytest.importorskip("sentencepiece", reason="the extra 'sentencepiece' is not installed")
    tokenizer = SentencePieceConfig(name="sentencepiece", vocab_size=60)
    prepare = pairs(text, source_tokenizer=tokenizer, target_tokenizer=tokenizer)
    prepare(text / "whole")
    for shard in ("2/2", "1/2", "join"):
        prepare(text / "out", shard=shard)
    assert content(text / "out") == content(text / "whole")


def test_a_missing_part_is_named(text: Path) -> None:
    prepare = pairs(text)
    with pytest.raises(DataError, match="no parts to join"):
        prepare(text / "out", shard="join")
    prepare(text / "out", shard="1/2")
    with pytest.raises(DataError, match=r"train\.2-of-2\.pieces: this part is not ready"):
        prepare(text / "out", shard="join")
    prepare(text / "out", shard="2/2")
    prepare(text / "out", shard="join")


def test_parts_of_other_text_are_not_mixed_in(text: Path) -> None:
    prepare = pairs(text)
    prepare(text / "out", shard="1/2")
    with pytest.raises(ConfigError, match="another number of parts"):
        prepare(text / "out")
    with (text / "train.en").open("a") as file, (text / "train.de").open("a") as other:
        file.write("1\n")
        other.write("2\n")
    with pytest.raises(ConfigError, match="overwrite=true"):
        prepare(text / "out", shard="2/2")
    prepare(text / "out", shard="2/2", overwrite=True)
    names = sorted(path.name for path in (text / "out.parts").glob("*.pieces"))
    assert names == ["train.2-of-2.pieces", "valid.2-of-2.pieces"]


def test_an_interrupted_command_with_other_settings_begins_anew(text: Path) -> None:
    prepare, other = pairs(text), pairs(text, min_count=3)
    other(text / "whole")
    while not (text / "out.parts" / "train.1-of-1.pieces").exists():
        run_and_kill(lambda: prepare(text / "out"), 0.02)
    lines = other(text / "out")
    assert lines[0] == "an interrupted command had other text or settings: begun anew"
    assert content(text / "out") == content(text / "whole")


def test_a_killed_command_leaves_no_process_behind(text: Path) -> None:
    prepare = pairs(text)
    reader, writer = os.pipe()

    def work() -> None:
        os.close(reader)
        prepare(text / "out", num_workers=2)

    run_and_kill(work, 0.15)
    os.close(writer)
    # The pipe ends when no process holds its other end any more.
    signal.alarm(5)
    assert os.read(reader, 1) == b""
    signal.alarm(0)
    os.close(reader)


def test_two_commands_do_not_write_the_same_part(text: Path) -> None:
    prepare = pairs(text)
    prepare(text / "out", shard="1/2")
    with (text / "out.parts" / "1-of-2.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as the other command holds it
        with pytest.raises(MachineError, match="in use by another"):
            prepare(text / "out", shard="1/2")
        prepare(text / "out", shard="2/2")


def test_a_folder_of_something_else_in_the_way_of_the_parts_is_left_alone(text: Path) -> None:
    (text / "out.parts").mkdir()
    (text / "out.parts" / "thesis.txt").write_text("do not lose")
    with pytest.raises(ConfigError, match=r"out\.parts is in the way"):
        pairs(text)(text / "out")
    assert (text / "out.parts" / "thesis.txt").read_text() == "do not lose"


def test_a_folder_that_was_being_replaced_comes_back(text: Path) -> None:
    prepare = pairs(text)
    prepare(text / "out")
    before = content(text / "out")
    prepare(text / "other", shard="1/2")
    (text / "other.parts").rename(text / "out.parts")
    (text / "out").rename(text / "out.parts" / "replaced")  # killed between the two renames
    with pytest.raises(DataError, match="not ready"):
        prepare(text / "out", shard="join")
    assert content(text / "out") == before


def test_the_card_has_hashes_and_counts_of_the_raw_files(text: Path) -> None:
    pairs(text)(text / "out")
    card = json.loads((text / "out" / "card.json").read_text())
    for language, facts in zip(("en", "de"), card["files"]["train"], strict=True):
        raw = (text / f"train.{language}").read_bytes()
        assert facts["sha256"] == hashlib.sha256(raw).hexdigest()
        assert facts["bytes"] == len(raw)
        assert facts["path"] == str(text / f"train.{language}")
    assert card["num_rows"] == {"train": NUM_ROWS, "valid": 30}
    counts = card["splits"]["train"]
    assert counts["num_pairs"] + counts["num_dropped"] == NUM_ROWS
    stores = open_prepared(text / "out").stores("train")
    assert counts["source"]["num_tokens"] == stores[0].num_tokens


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "all", "1/0"])
def test_a_part_that_cannot_be_is_refused(shard: str) -> None:
    with pytest.raises(ConfigError, match="shard must be i/n"):
        PrepareOptions(shard=shard)
