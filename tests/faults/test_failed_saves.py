"""A disk that refuses in the middle of a run."""

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy_run import final_state, history, run_forked, toy_config, write_toy_text

from seqtrain.checkpoint.layout import updates_of
from seqtrain.checkpoint.load import read_newest
from seqtrain.checkpoint.tree import trees_equal
from seqtrain.errors import MachineError
from seqtrain.pipeline import train
from seqtrain.training.callbacks.base import Callback, CallbackConfig, register_callback
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import StepResult

_LIMIT = 8192
"""Bytes: the log fits, the weights do not."""


@dataclass(kw_only=True)
class FileSizeConfig(CallbackConfig):
    """Lets no file grow beyond a limit for some updates, as a full disk would."""

    end: int = 9
    """The last of these updates."""


@register_callback("test_file_size", config=FileSizeConfig)
class FileSize(Callback):
    """See FileSizeConfig."""

    def on_update_end(self, trainer: Trainer, result: StepResult) -> None:
        infinity = resource.RLIM_INFINITY
        if trainer.writer is not None:
            trainer.writer.wait()  # so that the limit meets the save of update 8
        if trainer.num_updates == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, infinity))
        if trainer.num_updates == self.config.end:
            resource.setrlimit(resource.RLIMIT_FSIZE, (infinity, infinity))


def config(tmp_path: Path, name: str, background: bool, **callback: Any) -> dict[str, Any]:
    text = write_toy_text(tmp_path / "text")
    checkpoint = {"save_interval_updates": 4, "background": background, "max_failed_saves": 2}
    return toy_config(text, tmp_path / name, checkpoint=checkpoint, callback=callback)


@pytest.mark.parametrize("background", [True, False])
def test_a_save_that_fails_is_reported_and_the_run_ends_as_if_it_had_not(
    background: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disturbed = config(tmp_path, "disturbed", background, test_file_size={})
    disturbed["log_writer"]["console"] = {}
    assert run_forked(lambda: train(disturbed)) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if "Cannot write" in line]
    assert len(lines) == 1
    assert "step-0000000008" in lines[0]
    assert "Training goes on" in lines[0]
    assert run_forked(lambda: train(config(tmp_path, "calm", background))) == 0
    assert trees_equal(final_state(tmp_path / "disturbed"), final_state(tmp_path / "calm"))
    assert history(tmp_path / "disturbed") == history(tmp_path / "calm")


@pytest.mark.parametrize("background", [True, False])
def test_a_disk_that_refuses_for_good_ends_the_run_with_the_last_good_checkpoint(
    background: bool, tmp_path: Path
) -> None:
    def run() -> None:
        with pytest.raises(MachineError, match=r"step-00000000(12|16).*at byte \d+ of \d+"):
            train(config(tmp_path, "run", background, test_file_size={"end": 1000}))

    assert run_forked(run) == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    loaded = read_newest(checkpoints, lambda line: pytest.fail(line))
    assert loaded is not None
    assert loaded.manifest.num_updates == 4
    assert [p.name for p in checkpoints.iterdir() if updates_of(p.name) is None] in (
        ["best.json"],
        [],
    )
