from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import final_state, history, run_forked, toy_config, write_toy_text

from seqtrain.checkpoint.load import read_newest
from seqtrain.pipeline import train
from seqtrain.training.resume import first_difference

# Threads of torch do not survive a fork.
torch.set_num_threads(1)

SECTIONS: dict[str, dict[str, Any]] = {
    "criterion": {"name": "adaptive_softmax", "dim": 8},
    "model": {"layer_drop": 0.3, "checkpoint_activations": True},
    "optimization": {"max_epoch": 1, "clip_value": 0.1, "grad_noise": 0.01},
    "optimizer": {
        "groups": [
            {"pattern": "model.encoder.*", "freeze_updates": 3},
            {
                "pattern": "model.decoder.*",
                "lr_scheduler": {"name": "reduce_lr_on_plateau", "threshold": 10.0, "factor": 0.5},
            },
        ]
    },
    "dataset": {"curriculum_epochs": 1},
}


def everything(run_dir: Path) -> dict[str, Any]:
    """What training changes, the average and the criterion's parameters included."""
    loaded = read_newest(run_dir / "checkpoints", print)
    assert loaded is not None
    assert "criterion" in loaded.parts
    return final_state(run_dir) | {name: loaded.parts[name] for name in ("ema", "criterion")}


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_run_with_an_average_ends_as_if_never_interrupted(tmp_path: Path, kind: str) -> None:
    text = write_toy_text(tmp_path / "text")
    sections = SECTIONS | {"ema": {"kind": kind, "decay": 0.8, "start_update": 2, "interval": 2}}
    straight, snapshots = tmp_path / "straight", tmp_path / "snapshots"
    config = toy_config(
        text,
        straight,
        checkpoint={"save_interval_updates": 1},
        callback={"test_snapshot": {"into": str(snapshots)}},
        **sections,
    )
    assert run_forked(lambda: train(config)) == 0
    expected = everything(straight)
    # Before the average, between two weights of it, right after one, and near the end.
    for update in (1, 3, 4, expected["trainer"]["num_updates"] - 1):
        run_dir = snapshots / str(update)
        resumed = toy_config(text, run_dir, **sections)
        assert run_forked(lambda resumed=resumed: train(resumed)) == 0
        assert first_difference(expected, everything(run_dir), "state") == ""
        assert history(run_dir) == history(straight), f"killed after update {update}"
