import signal
from pathlib import Path
from typing import Any

from toy_command import run_toy_command
from toy_run import final_state, history, write_toy_text

from seqtrain.training.resume import first_difference


def test_the_same_command_after_a_kill_ends_as_if_never_killed(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    sections: dict[str, Any] = {
        "dataset": {"num_workers": 2},
        "optimization": {"update_freq": 3},
        "precision": {"dtype": "bf16"},
        "checkpoint": {"save_interval_updates": 1},
    }
    straight = tmp_path / "straight"
    assert run_toy_command(text, straight, **sections).returncode == 0
    last = final_state(straight)["trainer"]["num_updates"]
    killed = tmp_path / "killed"
    kills = sorted({1, 2, last // 2, last // 2 + 1, last - 1, last})
    assert len(kills) == 6
    for update in kills:
        kill = {"test_kill": {"after_update": update}}
        result = run_toy_command(text, killed, callback=kill, **sections)
        assert result.returncode == -signal.SIGKILL, result.stderr
    result = run_toy_command(text, killed, **sections)
    assert result.returncode == 0, result.stderr
    assert first_difference(final_state(straight), final_state(killed), "state") == ""
    assert history(killed) == history(straight)
