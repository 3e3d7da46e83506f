import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy_run import toy_config, write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import SeqtrainError
from seqtrain.pipeline import train
from seqtrain.training.callbacks.base import Callback, CallbackConfig, register_callback
from seqtrain.training.run_folder import held_run_folder, record_config
from seqtrain.training.trainer import Trainer

WRITERS: dict[str, Any] = {"jsonl": {}, "samples": {}}


class BreakError(Exception):
    pass


@dataclass(kw_only=True)
class BreakConfig(CallbackConfig):
    """Ends a run by an error."""

    after_updates: int = 0
    """Updates that are done by then."""
    note: str = ""
    """File to write before that."""


@register_callback("test_break", config=BreakConfig)
class Break(Callback):
    """See BreakConfig."""

    def on_update_start(self, trainer: Trainer, num_updates: int) -> None:
        if num_updates == self.config.after_updates:
            if self.config.note:
                Path(self.config.note).write_text("seen")
            raise BreakError


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_text(tmp_path_factory.mktemp("folder") / "text", num_train=8, num_valid=2)


def fail(text: Path, run_dir: Path, **sections: Any) -> None:
    with pytest.raises((BreakError, SeqtrainError)):
        train(toy_config(text, run_dir, log_writer=WRITERS, **sections))


FAILURES: dict[str, dict[str, Any]] = {
    "an option that cannot work": {"validation": {"test_split": "none"}},
    "data that is not there": {"task": {"data": "none"}},
    "weights that are not there": {"checkpoint": {"init_from": "none"}},
    "an error before the first update": {"callback": {"test_break": {}}},
}


@pytest.mark.parametrize("sections", FAILURES.values(), ids=FAILURES)
def test_a_command_that_fails_before_its_first_update_leaves_no_folder(
    text: Path, tmp_path: Path, sections: dict[str, Any]
) -> None:
    fail(text, tmp_path / "new/runs/a", **sections)
    assert list(tmp_path.iterdir()) == []


def break_with_files(run_dir: Path, files: dict[str, bytes]) -> None:
    def write_and_break() -> None:
        for name, content in files.items():
            (run_dir / name).parent.mkdir(exist_ok=True)
            (run_dir / name).write_bytes(content)
        raise BreakError

    with pytest.raises(BreakError), held_run_folder(run_dir, Collectives(), lambda: 0):
        write_and_break()


def test_logs_without_a_row_are_taken_back_and_rows_are_not(tmp_path: Path) -> None:
    begun = {"metrics.jsonl": b"", "tensorboard/events.out.tfevents.1.host.2": b"its mark"}
    break_with_files(tmp_path / "run", begun)
    assert list(tmp_path.iterdir()) == []
    break_with_files(tmp_path / "run", begun | {"metrics.jsonl": b"{}\n"})
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == b"{}\n"


def test_what_a_person_could_want_is_left(text: Path, tmp_path: Path) -> None:
    note = tmp_path / "with_a_note/note.txt"
    fail(text, note.parent, callback={"test_break": {"note": str(note)}})
    assert note.read_text() == "seen"
    mine = tmp_path / "mine/plan.txt"
    mine.parent.mkdir()
    mine.write_text("what I want to try")
    fail(text, mine.parent, callback={"test_break": {}})
    assert mine.read_text() == "what I want to try"
    (tmp_path / "empty").mkdir()
    fail(text, tmp_path / "empty", callback={"test_break": {}})
    assert (tmp_path / "empty").is_dir()


def test_a_run_that_fails_after_an_update_keeps_its_folder(text: Path, tmp_path: Path) -> None:
    fail(text, tmp_path / "run", callback={"test_break": {"after_updates": 1}})
    assert (tmp_path / "run/config.json").is_file()


def config(**optimization: int) -> dict[str, Any]:
    return {"run_dir": "a", "debug": False, "optimization": {"max_update": 6} | optimization}


def write(folder: Path, *turns: tuple[dict[str, Any], int]) -> dict[str, Any]:
    """Records configurations with the updates done by then; returns what the files say."""
    for values, num_updates in turns:
        record_config(folder, values, num_updates)
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir()}


def test_a_configuration_that_has_changed_is_kept_by_the_updates_made_with_it(
    tmp_path: Path,
) -> None:
    first, second, third = config(), config(max_update=9), config(max_update=12)
    # The third goes on from the same checkpoint: the second made nothing that is left.
    found = write(tmp_path, (first, 0), (first, 3), (second, 6), (third, 6), (second, 9))
    assert found == {"config.json": second, "config.6.json": first, "config.9.json": third}


@pytest.mark.parametrize("change", [{"run_dir": "b"}, {"debug": True}])
def test_what_says_nothing_of_the_training_is_no_change(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert write(tmp_path, (config(), 0), (config() | change, 6)) == {
        "config.json": config() | change
    }


@pytest.mark.parametrize(
    "corrupt",
    [lambda path: path.write_bytes(b"\xff"), lambda path: path.write_text("[]")],
    ids=["no text", "no mapping"],
)
def test_a_file_that_is_no_configuration_is_kept_too(
    tmp_path: Path, corrupt: Callable[[Path], object]
) -> None:
    corrupt(tmp_path / "config.json")
    record_config(tmp_path, config(), 6)
    assert json.loads((tmp_path / "config.json").read_text()) == config()
    assert (tmp_path / "config.6.json").is_file()
