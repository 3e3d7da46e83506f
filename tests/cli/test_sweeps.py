"""Sweeps: every job trains in a folder of its own, and its best value goes to the sweeper."""

import json
from pathlib import Path

import pytest
import yaml
from toy_command import overrides
from toy_run import toy_config, write_toy_text

from seqtrain_cli import report
from seqtrain_cli.entry import run_command
from seqtrain_cli.train import COMMAND

FEW = {"optimization": {"max_epoch": 0, "max_update": 4}, "validation": {"test_split": ""}}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words of a run of 4 updates in the folder `sweep`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    config = toy_config(write_toy_text(tmp_path / "text"), tmp_path / "sweep", **FEW)
    return [word for word in overrides(config) if not word.startswith(("seed=", "optimizer.lr="))]


def trained(folder: Path) -> dict[str, tuple[int, float]]:
    """Returns the seed and rate of each job by the name of its folder, if it has a checkpoint."""
    found = {}
    for path in sorted(folder.glob("*/config.json")):
        config = json.loads(path.read_text())
        if list(path.parent.glob("checkpoints/step-*/manifest.json")):
            found[path.parent.name] = (config["seed"], config["optimizer"]["lr"])
    return found


def best_value(run_dir: Path) -> float:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return float(min(row["valid_loss"] for row in rows if row["event"] == "valid"))


def test_a_grid_trains_each_combination_in_its_own_folder(words: list[str], tmp_path: Path) -> None:
    assert run_command(COMMAND, ["-m", *words, "seed=1,2", "optimizer.lr=0.01,0.02"]) == 0
    assert trained(tmp_path / "sweep") == {
        "0": (1, 0.01),
        "1": (1, 0.02),
        "2": (2, 0.01),
        "3": (2, 0.02),
    }
    # Nothing else: neither outputs/ nor multirun/ of Hydra's.
    assert {path.name for path in tmp_path.iterdir()} == {"text", "sweep"}
    assert {path.name for path in (tmp_path / "sweep").iterdir()} - set("0123") <= {"multirun.yaml"}


def test_the_end_of_a_sweep_names_the_best_trial(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(COMMAND, ["-m", *words, "seed=1", "optimizer.lr=0.0001,0.02"]) == 0
    value = best_value(tmp_path / "sweep/1")
    assert value < best_value(tmp_path / "sweep/0")
    out = capfd.readouterr().out
    folder = tmp_path / "sweep"
    assert f"best valid_loss {value:.6g}: trial 1 in {folder}/1, with optimizer.lr=0.02" in out
    assert f"see them: seqtrain-report runs={folder}" in out
    page = tmp_path / "report.html"
    assert run_command(report.COMMAND, [f"runs=[{folder}]", f"output={page}"]) == 0
    assert "sweep/1 valid" in page.read_text()


def test_the_same_sweep_again_continues_every_job(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *words, "seed=1,2", "log_writer=[console]", "optimizer.lr=0.01"]
    assert run_command(COMMAND, sweep) == 0
    assert run_command(COMMAND, [*sweep, "optimization.max_update=6"]) == 0
    assert capfd.readouterr().out.count("continuing from ") == 2
    for job in "01":
        assert (tmp_path / "sweep" / job / "checkpoints/step-0000000006").is_dir()


def test_joblib_trains_jobs_side_by_side(words: list[str], tmp_path: Path) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="pip install 'seqtrain[sweep]'"
    )
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    sweep = ["-m", *words, *launcher, "seed=1,2", "optimizer.lr=0.01"]
    assert run_command(COMMAND, sweep) == 0
    assert trained(tmp_path / "sweep") == {"0": (1, 0.01), "1": (2, 0.01)}


# The Optuna 2 that the sweeper asks for uses deprecated names of other packages.
@pytest.mark.filterwarnings("ignore")
def test_optuna_is_given_the_best_value_of_each_job(words: list[str], tmp_path: Path) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_optuna_sweeper", reason="pip install 'seqtrain[sweep]'"
    )
    sweeper = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]
    sweeper += ["hydra.sweeper.sampler.seed=5", "hydra.sweeper.direction=minimize"]
    sweep = ["-m", *words, *sweeper, "seed=1", "optimizer.lr=interval(0.001,0.1)"]
    assert run_command(COMMAND, sweep) == 0
    jobs = trained(tmp_path / "sweep")
    assert jobs.keys() == set("012")
    assert len({rate for _, rate in jobs.values()}) == 3
    results = yaml.safe_load((tmp_path / "sweep/optimization_results.yaml").read_text())
    values = {job: best_value(tmp_path / "sweep" / job) for job in jobs}
    best = min(values, key=lambda job: values[job])
    assert results["best_value"] == pytest.approx(values[best])
    assert results["best_params"]["optimizer.lr"] == jobs[best][1]
