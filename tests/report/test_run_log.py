import json
import math
from pathlib import Path

import pytest
from report_runs import write_run

from seqtrain.errors import ConfigError, DataError
from seqtrain.report.run_log import MAX_POINTS, TRAINING, Curve, read_runs


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a")])
    curve = run.curve("valid", "valid_bleu")
    assert curve is not None
    assert (curve.updates, curve.values) == ([20, 40], [200.0, 400.0])
    assert run.num_updates == 40
    assert run.seconds_at([5, 20]) == [2.5, 10.0]
    assert run.test["test_loss"] == 1.0
    assert [row["num_updates"] for row in run.samples] == [20] * 3 + [40] * 3
    assert run.notes == []


def test_what_is_no_row_is_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    good = {"event": "train", "num_updates": 50, "train_loss": 1.0, "note": "text", "flag": None}
    lines = [
        b"[]", b"not json", b'{"event": 3, "num_updates": 1}', b'{"event": "x", "num_updates": -1}',
        b"\xff\xfe", b"[" * 100_000, b'{"event": "x", "num_updates": true}',
        json.dumps(good).encode(),
        b'{"event": "train", "num_updates": 60, "train_loss": NaN, "lr": 1e999}',
    ]  # fmt: skip
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b"\n".join(lines) + b'\n{"event": "train", "num_upd')
    (run,) = read_runs([folder])
    assert run.notes == ["metrics.jsonl: 7 lines are no rows and were left out"]
    loss = run.curve("train", "train_loss")
    assert loss is not None
    assert loss.updates[-2:] == [50, 60]
    assert loss.values[-2] == 1.0
    assert math.isnan(loss.values[-1])
    assert run.curve("train", "note") is None


def test_a_line_of_any_length_takes_little_memory(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b" " * (3 << 20) + b'{"event": "train", "num_updates": 70}\n')
        file.write(b'{"event": "train", "num_updates": 80, "train_loss": 2}\n')
    (run,) = read_runs([folder])
    assert run.num_updates == 80
    assert run.notes == ["metrics.jsonl: 1 lines are no rows and were left out"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"password": "hunter2"}\n')
    folder = write_run(tmp_path / "a")
    for name in ("config.json", "samples.jsonl", "test_metrics.json", "metrics.jsonl"):
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
    (run,) = read_runs([folder])
    assert (run.config, run.samples, run.test, run.curves) == ({}, [], {}, {})
    assert len(run.notes) == 4


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    for name in ("metrics.jsonl", "samples.jsonl"):
        (folder / name).unlink()
        (folder / name).mkdir()
    (run,) = read_runs([folder])
    assert run.notes == ["metrics.jsonl: not a file", "samples.jsonl: not a file"]


def test_a_run_that_went_back_replaces_what_came_after() -> None:
    curve = Curve()
    for update, value in ((10, 1.0), (20, 2.0), (30, 3.0), (20, 4.0)):
        curve.add(update, value)
    assert (curve.updates, curve.values) == ([10, 20], [1.0, 4.0])


def test_short_epochs_give_the_points_of_training(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    epochs = [{"event": "epoch", "num_updates": n, "train_loss": 1.0 * n} for n in range(5, 41, 5)]
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in epochs)
    (run,) = read_runs([folder])
    loss, rate = run.curve(TRAINING, "train_loss"), run.curve(TRAINING, "lr")
    assert loss is not None
    assert (loss.updates, loss.values[0]) == (list(range(5, 41, 5)), 5.0)
    assert rate is not None
    assert rate.updates == [10, 20, 30, 40]


def test_long_epochs_give_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epoch", "num_updates": 35, "train_loss": 9.0}\n')
    (run,) = read_runs([folder])
    loss = run.curve(TRAINING, "train_loss")
    assert loss is not None
    assert loss.updates == [10, 20, 30, 40]


def test_long_curves_are_thinned_evenly() -> None:
    curve = Curve()
    for update in range(1, 3 * MAX_POINTS):
        curve.add(update, float(update))
    assert len(curve.updates) <= MAX_POINTS
    steps = {b - a for a, b in zip(curve.updates, curve.updates[1:], strict=False)}
    assert steps == {4}


def test_runs_get_names_that_tell_them_apart(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name) for name in ("x/a", "y/a", "y/b")]
    assert [run.name for run in read_runs(paths)] == ["x/a", "y/a", "y/b"]
    assert [run.name for run in read_runs(paths[1:])] == ["a", "b"]
    assert [run.name for run in read_runs([paths[0], paths[0]])] == ["a (1)", "a (2)"]


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="runs: .*/none is no folder"):
        read_runs([tmp_path / "none"])
    with pytest.raises(DataError, match=r"has no metrics.jsonl"):
        read_runs([tmp_path])
    with pytest.raises(ConfigError, match="runs is empty"):
        read_runs([])
    (run,) = read_runs([tmp_path / "none"], may_be_new=True)
    assert run.notes == ["nothing is written yet"]
