from pathlib import Path
from typing import Any

from ranks import run_ranks, said
from toy_command import PLUGIN, run_toy_command
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference


def run_in_forks(
    text: Path, run_dir: Path, world_size: int, expected: int = 0, **sections: Any
) -> str:
    """Runs what the real command would, without the time that its imports take.

    Returns what was said, after a look at the exit codes.
    """
    load_plugins([str(PLUGIN)])
    config = toy_config(text, run_dir, **sections)
    folder = run_dir.with_name(f"{run_dir.name}-output")
    assert run_ranks(config, world_size, folder) == [expected] * world_size, said(folder)
    return said(folder)


def examples_by_update(path: Path) -> dict[int, int]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return {int(update): int(examples) for update, examples in rows}


def test_one_process_with_two_micro_batches_equals_two_with_one(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    one, two = tmp_path / "one", tmp_path / "two"
    run_in_forks(text, one, 1, optimization={"update_freq": 2})
    result = run_toy_command(text, two, distributed={"num_processes": 2})
    assert result.returncode == 0, result.stderr
    assert first_difference(final_state(one), final_state(two), "state") == ""


def test_every_example_is_seen_once_an_epoch_when_the_number_of_processes_changes(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")
    run_dir, log = tmp_path / "run", tmp_path / "examples"
    every = {"save_interval_updates": 1}
    count = {"test_count": {"file": str(log)}}
    # Two processes to update 3, one to update 8, then two to the end of the second epoch.
    for processes, last in ((2, 3), (1, 8), (2, 0)):
        limits = {"max_update": last, "max_epoch": 2}
        run_in_forks(
            text, run_dir, processes, optimization=limits, checkpoint=every, callback=count
        )
    seen = examples_by_update(log)
    assert sum(seen.values()) == 2 * 48
    epochs = {
        row["epoch"]: row["num_updates"] for row in history(run_dir) if row["event"] == "epoch"
    }
    first = sum(count for update, count in seen.items() if update <= epochs[1])
    assert first == 48


def test_an_error_on_every_process_is_one_clear_line_each(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    errors = run_in_forks(text, tmp_path / "run", 2, expected=2, checkpoint={"best_metric": "x"})
    assert "Traceback" not in errors
    line = "checkpoint.best_metric ('x') is not among the validated values"
    assert [line in said for said in errors.strip().splitlines() if said] == [True, True]
