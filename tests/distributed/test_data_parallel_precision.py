from pathlib import Path
from typing import Any

import pytest
from toy_command import run_toy_command
from toy_run import history, write_toy_text


@pytest.mark.parametrize(
    "precision",
    [{"dtype": "fp16", "init_scale": 2048.0}, {"dtype": "bf16", "parameters": "bf16"}],
    ids=["fp16", "bf16"],
)
def test_two_processes_train_in_half_precision_about_as_one_does(
    tmp_path: Path, precision: dict[str, Any]
) -> None:
    text = write_toy_text(tmp_path / "text")
    losses = []
    for processes in (1, 2):
        run_dir = tmp_path / str(processes)
        run_toy_command(
            text,
            run_dir,
            precision=precision,
            distributed={"num_processes": processes},
            optimization={"max_update": 6, "max_epoch": 0, "update_freq": 2 // processes},
            logging={"interval": 1},
        )
        rows = [row for row in history(run_dir) if row["event"] == "train"]
        losses.append([row["train_loss"] for row in rows])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
