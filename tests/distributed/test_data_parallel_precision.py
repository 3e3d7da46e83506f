from pathlib import Path
from typing import Any

import pytest
from ranks import run_ranks, said
from toy_run import history, toy_config, write_toy_text

from seqtrain.plugins import load_plugins


@pytest.mark.parametrize(
    "precision",
    [{"dtype": "fp16", "init_scale": 2048.0}, {"dtype": "bf16", "parameters": "bf16"}],
    ids=["fp16", "bf16"],
)
def test_two_processes_train_in_half_precision_about_as_one_does(
    tmp_path: Path, precision: dict[str, Any]
) -> None:
    load_plugins([])
    text = write_toy_text(tmp_path / "text")
    losses = []
    for processes in (1, 2):
        run_dir = tmp_path / str(processes)
        config = toy_config(
            text,
            run_dir,
            precision=precision,
            optimization={"max_update": 6, "max_epoch": 0, "update_freq": 2 // processes},
            logging={"interval": 1},
        )
        output = tmp_path / f"out-{processes}"
        assert run_ranks(config, processes, output) == [0] * processes, said(output)
        rows = [row for row in history(run_dir) if row["event"] == "train"]
        losses.append([row["train_loss"] for row in rows])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
