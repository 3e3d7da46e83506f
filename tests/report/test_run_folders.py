from pathlib import Path

import pytest
from report_runs import write_run

from seqtrain.report import run_folders
from seqtrain.report.run_log import read_runs


def test_a_folder_of_trials_stands_for_its_runs_in_order(tmp_path: Path) -> None:
    for name in ("10", "2", "x"):
        write_run(tmp_path / "grid" / name)
    (tmp_path / "grid" / "empty").mkdir()
    (tmp_path / "grid" / "link").symlink_to(tmp_path / "grid" / "2")
    one = write_run(tmp_path / "one")
    names = [run.name for run in read_runs([tmp_path / "grid", one])]
    assert names == ["grid/x", "grid/2", "grid/10", f"{tmp_path.name}/one"]


def test_runs_of_a_folder_that_are_not_shown_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folders, "MOST_RUNS", 2)
    for name in ("a", "b", "c"):
        write_run(tmp_path / name)
    runs = read_runs([tmp_path])
    assert [run.name for run in runs] == ["a", "b"]
    assert runs[0].notes == [
        f"{tmp_path} has 3 runs, of which the first 2 are shown: name others in runs="
    ]
