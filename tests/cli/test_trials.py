"""Sweeps with a command that trains nothing: checks before them, failures, the best at the end."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqtrain.errors import DataError
from seqtrain.training.run_config import RunConfig
from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command
from seqtrain_cli.train import COMMAND
from seqtrain_cli.trials import Trial, best_of, read_trials, run_trial, sweep_screen

Sweep = Callable[..., int]


@pytest.fixture
def begun() -> list[dict[str, Any]]:
    """Configurations of the trials that were begun."""
    return []


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[dict[str, Any]]) -> Sweep:
    """Runs `seqtrain-train -m WORDS` with trials whose value is their seed; seed 13 fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")

    def run(container: dict[str, Any]) -> float:
        begun.append(container)
        seed = RunConfig.parse(container).seed
        if seed == 13:
            raise DataError("text: not there.")
        return float(seed)

    command = Command(COMMAND.name, COMMAND.help, run, COMMAND.check)
    return lambda *words: run_command(command, ["-m", "run_dir=sweep", *words])


def test_a_bad_trial_is_found_before_the_first_one_begins(
    sweep: Sweep, begun: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("model.dim=64", "model.num_heads=2,3") == 2
    error = capsys.readouterr().err
    assert "trial 1 (model.num_heads=3) cannot work, so none was begun: model.dim" in error
    assert begun == []


def test_each_choice_of_a_large_grid_is_tried_before(
    sweep: Sweep, begun: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("seed=range(0,50)", "model.dim=64", "model.num_heads=2,3") == 2
    assert "a trial (seed=0 model.num_heads=3) cannot work" in capsys.readouterr().err
    assert begun == []


def test_a_failed_trial_is_told_at_once_and_the_others_go_on(
    sweep: Sweep, begun: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("seed=20,13,4") == DataError.exit_code
    captured = capsys.readouterr()
    assert [each["run_dir"] for each in begun] == ["sweep/0", "sweep/1", "sweep/2"]
    first, *_, last = captured.err.splitlines()
    assert first == "trial 1 (seed=13) failed: text: not there."
    assert last.endswith("error: 1 of 3 trials failed; trial 1 (seed=13): text: not there.")
    assert captured.out.splitlines()[3:] == [
        "sweep of 3 trials in sweep, 1 failed",
        "     2             4  seed=4",
        "     0            20  seed=20",
        "     1        failed  seed=13",
        "best valid_loss 4: trial 2 in sweep/2, with seed=4",
        "see them: seqtrain-report runs=sweep",
    ]


def test_trials_of_an_earlier_sweep_do_not_count(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        run_trial(lambda container: 1.0, {"run_dir": f"sweep/{number}"}, number, ["seed=1"])
    assert sweep("seed=3", "dry_run=true") == 0  # writes nothing, removes nothing
    assert [trial.value for trial in read_trials(Path("sweep"))] == [1.0, 1.0]
    assert sweep("seed=5") == 0
    assert "best valid_loss 5: trial 0 in sweep/0" in capsys.readouterr().out
    assert [trial.value for trial in read_trials(Path("sweep"))] == [5.0]


def test_the_best_value_may_be_the_largest(sweep: Sweep) -> None:
    words = ["checkpoint.best_metric=valid_bleu", "checkpoint.maximize_best_metric=true"]
    assert sweep(*words, "seed=3") == 0
    (trial,) = read_trials(Path("sweep"))
    assert (trial.metric, trial.maximize) == ("valid_bleu", True)
    better = replace(trial, number=1, value=9.0)
    assert best_of([trial, better]) == better
    assert best_of([replace(each, maximize=False) for each in (trial, better)]) != better


def test_a_trial_without_a_value_is_not_the_best() -> None:
    trials = [Trial(number=0, options=["a=1"]), Trial(number=1, options=["a=2"], error="why")]
    assert best_of(trials) is None
    assert sweep_screen(Path("runs/s"), trials)[-1] == "see them: seqtrain-report runs=runs/s"


def test_long_sweeps_show_the_best_trials(tmp_path: Path) -> None:
    trials = [Trial(number=i, options=[f"a={i}"], metric="m", value=-float(i)) for i in range(30)]
    lines = sweep_screen(tmp_path, trials)
    assert lines[1].split() == ["29", "-29", "a=29"]
    assert "  and 10 more" in lines


def test_a_file_that_is_no_record_is_passed_over(tmp_path: Path) -> None:
    for name, text in (
        ("0", "{}"),
        ("1", "no"),
        ("2", "[1]"),
        ("3", '{"number": 3, "options": []}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trial.json").write_text(text)
    assert [trial.number for trial in read_trials(tmp_path)] == [3]


# The Optuna 2 that the sweeper asks for uses deprecated names of other packages.
@pytest.mark.filterwarnings("ignore")
def test_a_search_for_the_worst_is_refused(
    sweep: Sweep, begun: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_optuna_sweeper", reason="pip install 'seqtrain[sweep]'"
    )
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    assert sweep(*words, "hydra.sweeper.direction=maximize", "seed=1,2") == 2
    assert "contradict each other" in capsys.readouterr().err
    assert begun == []
    assert sweep(*words, "seed=choice(4,13)", "hydra.sweeper.sampler.seed=1") in (0, 3)
    assert "sweep of 2 trials in sweep" in capsys.readouterr().out
