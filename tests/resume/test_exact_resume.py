from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import final_state, history, run_forked, toy_config, write_toy_text

from seqtrain.pipeline import train
from seqtrain.training.resume import first_difference

# Threads of torch do not survive a fork.
torch.set_num_threads(1)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("update_freq", [1, 3])
def test_a_run_killed_after_any_checkpoint_ends_as_if_never_interrupted(
    tmp_path: Path, num_workers: int, update_freq: int
) -> None:
    text = write_toy_text(tmp_path / "text")
    sections: dict[str, dict[str, Any]] = {
        "dataset": {"num_workers": num_workers},
        "optimization": {"update_freq": update_freq},
    }
    straight = tmp_path / "straight"
    snapshots = tmp_path / "snapshots"
    config = toy_config(
        text,
        straight,
        checkpoint={"save_interval_updates": 1},
        callback={"test_snapshot": {"into": str(snapshots)}},
        **sections,
    )
    assert run_forked(lambda: train(config)) == 0
    expected_state, expected_history = final_state(straight), history(straight)
    updates = sorted(int(path.name) for path in snapshots.iterdir())
    assert updates == list(range(1, expected_state["trainer"]["num_updates"] + 1))
    assert len(updates) >= 6
    for update in updates:
        run_dir = snapshots / str(update)
        resumed = toy_config(text, run_dir, **sections)
        assert run_forked(lambda resumed=resumed: train(resumed)) == 0
        assert first_difference(expected_state, final_state(run_dir), "state") == ""
        assert history(run_dir) == expected_history, f"killed after update {update}"
