import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_run import toy_config

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.plugins import load_plugins
from seqtrain.training.run_config import RunConfig
from seqtrain.training.screens.last_screen import last_screen, next_commands, setting
from seqtrain.training.train_loop import TrainResult
from seqtrain_cli.arguments import split_arguments

ROOT = Path(__file__).resolve().parents[3]


def config(run_dir: Path, **sections: Any) -> RunConfig:
    load_plugins([])
    return RunConfig.parse(toy_config(Path("text"), run_dir, **sections))


def result(**values: Any) -> TrainResult:
    known: dict[str, Any] = {"num_updates": 24, "best_metric": None, "best_checkpoint": None}
    return TrainResult(**(known | {"test": {}} | values))


def read_back(words: str) -> dict[str, object]:
    """Returns what the commands read of words that were pasted into a shell."""
    parsed = split_arguments(shlex.split(words)).parsed()
    return {override.key_or_group: override.value() for override in parsed}


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@settings(max_examples=50)
@given(TEXTS | st.sampled_from(["null", "1e5", "007", "a b", "${x}", "a\\", '"', "a,b", "[a]"]))
def test_a_setting_is_read_back_as_it_was(value: str) -> None:
    found = read_back(setting("checkpoint", value))["checkpoint"]
    assert str(found).replace("\\${", "${") == value


@settings(max_examples=25)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_a_list_is_read_back_as_it_was(values: list[str]) -> None:
    found = read_back(setting("plugins", values))["plugins"]
    assert isinstance(found, list)
    assert [str(item).replace("\\${", "${") for item in found] == values


def test_common_paths_are_written_plainly() -> None:
    assert setting("checkpoint", "runs/a-1/b_2.c") == "checkpoint=runs/a-1/b_2.c"
    assert setting("runs", "my run") == "'runs=\"my run\"'"


def test_the_commands_to_go_on_with_are_those_that_are_installed(tmp_path: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    run = config(tmp_path / "a run", plugins=["./my model.py"])
    commands = next_commands(tmp_path / "a run", run, result())
    assert len(commands) >= 5
    for command in commands:
        program, *words = shlex.split(command)
        assert f"\n{program} = " in project
        found = read_back(shlex.join(words))
        assert str(tmp_path / "a run") in (found.get("checkpoint"), found.get("runs"))
        if program not in ("seqtrain-report", "seqtrain-info"):
            assert found["plugins"] == ["./my model.py"]


def test_the_last_screen_tells_the_best_checkpoint_and_the_test(tmp_path: Path) -> None:
    best = tmp_path / "checkpoints/step-0000000024"
    ended = result(best_metric=1.5, best_checkpoint=best, test={"loss": 2.0, "wer": 33.333})
    lines = last_screen(tmp_path, ended, config(tmp_path))
    assert lines[:3] == [
        "finished after 24 updates",
        f"best valid_loss 1.5000 in {best}",
        f"test: loss 2, wer 33.33 (in {tmp_path / 'test_metrics.json'})",
    ]
    assert f"  seqtrain-evaluate checkpoint={tmp_path} split=test" in lines


def test_a_run_that_was_stopped_says_how_it_continues(tmp_path: Path) -> None:
    (line,) = last_screen(tmp_path, result(signal=2), config(tmp_path))
    assert line.endswith("The same command continues.")


def test_a_run_that_had_ended_before_is_not_said_to_have_finished(tmp_path: Path) -> None:
    line, *_ = last_screen(tmp_path, result(ended="This run has ended."), config(tmp_path))
    assert line == "This run has ended."


def test_paths_are_those_that_one_types_in_the_folder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    best = here / "runs/a/checkpoints/step-0000000024"
    ended = result(best_metric=1.5, best_checkpoint=best, test={"loss": 2.0})
    lines = last_screen(here / "runs/a", ended, config(here / "runs/a"))
    assert lines[1:5] == [
        "best valid_loss 1.5000 in runs/a/checkpoints/step-0000000024",
        "test: loss 2 (in runs/a/test_metrics.json)",
        f"in the folder {here} go on with:",
        "  seqtrain-evaluate checkpoint=runs/a split=test",
    ]
    assert lines[-1].endswith(" out=runs/a-exported")
    beside = tmp_path / "runs/a"
    lines = last_screen(beside, ended, config(beside))
    assert f"  seqtrain-evaluate checkpoint={beside} split=test" in lines
    lines = last_screen(Path("../runs/a"), ended, config(beside))
    assert "  seqtrain-evaluate checkpoint=../runs/a split=test" in lines


def test_data_that_the_checkpoint_knows_by_another_path_is_named(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    recorded = config(run_dir, task={"data": "../data"}).to_container()
    write_checkpoint(run_dir / "checkpoints", 24, {"config": recorded}, {})
    for data, named in (("../data", None), ("my data", "my data")):
        run = config(run_dir, task={"data": data})
        evaluate, generate, *others = next_commands(run_dir, run, result())
        for command in (evaluate, generate):
            assert read_back(command.partition(" ")[2]).get("data") == named
        assert all("data=" not in command for command in others)
