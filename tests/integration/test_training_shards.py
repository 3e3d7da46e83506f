"""Training on text that lies in many prepared folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.checkpoint.tree import trees_equal
from seqtrain.errors import ConfigError, DataError
from seqtrain.pipeline import train
from seqtrain.plugins import load_plugins
from seqtrain.tasks.base import TASKS
from seqtrain_cli.preprocess import run as preprocess


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder `whole`, and the same training text in `part0` to `part3`."""
    load_plugins([])
    folder = tmp_path_factory.mktemp("shards")
    text = write_toy_text(folder / "text", num_train=60)
    prepare(text, folder / "whole")
    lines = {side: (text / f"train.{side}").read_text().splitlines(True) for side in "xy"}
    for number in range(4):
        part = folder / f"text{number}"
        part.mkdir()
        for side in "xy":
            (part / f"train.{side}").write_text("".join(lines[side][number * 15 :][:15]))
        prepare(part, folder / f"part{number}", vocabulary_from=str(folder / "whole"))
    return folder


def prepare(text: Path, out: Path, **more: str) -> None:
    task = {"name": "translation", "source": "x", "target": "y", "tokenizer": "word"}
    given = [split for split in ("train", "valid", "test") if (text / f"{split}.x").exists()]
    task |= {split: str(text / split) for split in given}
    preprocess({"task": task | more, "out": str(out)})


def parts(folders: Path) -> list[str]:
    return [str(folders / f"part{number}") for number in range(4)]


def sharded(folders: Path, run_dir: Path, shards: dict[str, Any], **sections: Any) -> Any:
    config = toy_config(folders / "text", run_dir, **sections)
    config["task"] = {
        "name": "translation",
        "data": str(folders / "whole"),
        "scorers": ["wer"],
        "shards": shards,
    }
    return config


def test_a_run_on_shards_sees_every_pair_once_an_epoch_and_resumes_in_its_middle(
    folders: Path, tmp_path: Path
) -> None:
    shards = {"parts": parts(folders), "max_open": 2}
    whole = sharded(folders, tmp_path / "whole", shards)
    train(whole)
    rows = [row for row in history(tmp_path / "whole") if row["event"] == "epoch"]
    assert [round(row["bsz"] * row["num_updates"]) for row in rows[:1]] == [60]
    first = sharded(folders, tmp_path / "halves", shards, optimization={"max_update": 7})
    train(first)
    again = sharded(folders, tmp_path / "halves", shards, optimization={"max_update": 0})
    train(again)
    assert trees_equal(final_state(tmp_path / "whole"), final_state(tmp_path / "halves"))


def test_a_manifest_of_the_parts_is_the_same_corpus(folders: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "shards.json"
    task = {"name": "translation", "shards": {"parts": parts(folders)}}
    preprocess({"task": task, "out": str(manifest)})
    assert len(json.loads(manifest.read_text())["shards"]) == 4
    for name, shards in (("folders", parts(folders)), ("manifest", [str(manifest)])):
        train(sharded(folders, tmp_path / name, {"parts": shards}, optimization={"max_update": 5}))
    assert trees_equal(final_state(tmp_path / "folders"), final_state(tmp_path / "manifest"))


def test_a_part_of_another_vocabulary_is_refused(folders: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    shutil.copytree(folders / "text0", text)
    (text / "train.x").write_text("z\n" * 15)
    prepare(text, tmp_path / "other")
    config = sharded(folders, tmp_path / "run", {"parts": [str(tmp_path / "other")]})
    with pytest.raises(DataError, match="task.vocabulary_from"):
        train(config)


def test_language_models_train_on_shards_of_blocks(tmp_path: Path) -> None:
    load_plugins([])
    text = write_toy_text(tmp_path / "text", num_train=60)
    task = {"name": "language_modeling", "tokenizer": "word", "documents": "line"}
    files = {"train": [str(text / "train.x")], "valid": [str(text / "valid.x")]}
    preprocess({"task": task | files, "out": str(tmp_path / "whole")})
    shared = task | {"vocabulary_from": str(tmp_path / "whole")}
    for side in "xy":  # both are of the same letters
        more = {"train": [str(text / f"train.{side}")]}
        preprocess({"task": shared | more, "out": str(tmp_path / f"part.{side}")})
    section = {
        "name": "language_modeling",
        "data": str(tmp_path / "whole"),
        "tokens_per_sample": 8,
        "shards": {"parts": [str(tmp_path / f"part.{side}") for side in "xy"]},
    }
    config = TASKS.parse(section)
    dataset = TASKS.get("language_modeling").cls.load(config, 1).dataset("train")
    num_symbols = sum(len(line.split()) + 1 for line in (text / "train.x").read_text().splitlines())
    assert len(dataset) == 2 * -(-num_symbols // 8)
    with pytest.raises(ConfigError, match="break_mode=none or eos"):
        TASKS.parse(section | {"break_mode": "complete"})
