from pathlib import Path
from typing import Any

import pytest
from toy_run import write_toy_text

from seqtrain.plugins import load_plugins
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.screens.unread_settings import unread_settings_note


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds text of words, and the same prepared."""
    load_plugins([])
    folder = tmp_path_factory.mktemp("unread")
    write_toy_text(folder / "text", num_train=6, num_valid=2)
    pairs = pair_settings(folder)
    TASKS.get("translation").cls.prepare(TASKS.parse(pairs), folder / "pairs", 1)
    lines = {"name": "language_modeling", "train": [str(folder / "text/train.x")]}
    lines |= {"tokenizer": "char"}
    TASKS.get("language_modeling").cls.prepare(TASKS.parse(lines), folder / "lines", 1)
    return folder


def pair_settings(folder: Path) -> dict[str, Any]:
    return {
        "name": "translation",
        "source": "x",
        "target": "y",
        "train": str(folder / "text/train"),
        "valid": str(folder / "text/valid"),
        "tokenizer": "word",
    }


def load(**section: Any) -> Task:
    task: Task = TASKS.get(section["name"]).cls.load(TASKS.parse(section), 1)
    return task


def test_raw_text_beside_prepared_data_is_said_not_to_be_used(folder: Path) -> None:
    data = folder / "pairs"
    found = unread_settings_note(load(**pair_settings(folder), data=str(data)))
    assert found == [
        f"note: task.train and task.valid are not used: the data is in task.data={data}"
    ]


def test_settings_that_the_data_was_not_prepared_with_are_named_with_those_that_it_was(
    folder: Path,
) -> None:
    section = {"name": "translation", "source": "y", "target": "x", "joined": True}
    found = unread_settings_note(load(**section, tokenizer="char", data=str(folder / "pairs")))
    shown = [line.partition(" is not used: ")[0] for line in found]
    assert shown == [
        "note: task.source=y", "note: task.target=x", "note: task.tokenizer=char",
        "note: task.joined=True",
    ]  # fmt: skip
    assert [line.rpartition(" ")[2] for line in found] == ["x", "y", "word", "False"]


def test_settings_that_say_what_the_data_is_need_no_word(folder: Path) -> None:
    section = pair_settings(folder) | {"train": "", "valid": ""}
    assert unread_settings_note(load(**section, data=str(folder / "pairs"))) == []
    assert unread_settings_note(load(**pair_settings(folder))) == []


def test_tasks_on_plain_text_say_it_too(folder: Path) -> None:
    data = str(folder / "lines")
    section = {"name": "language_modeling", "tokenizer": "word", "train": ["a.txt"]}
    assert unread_settings_note(load(**section, data=data)) == [
        f"note: task.train is not used: the data is in task.data={data}",
        f"note: task.tokenizer=word is not used: task.data={data} was prepared with char",
    ]
