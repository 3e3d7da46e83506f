from pathlib import Path

import pytest
from toy_run import toy_config, write_toy_text

from seqtrain.lr_schedulers.fixed import Fixed, FixedConfig
from seqtrain.lr_schedulers.inverse_sqrt import InverseSqrt, InverseSqrtConfig
from seqtrain.lr_schedulers.reduce_lr_on_plateau import (
    ReduceLROnPlateau,
    ReduceLROnPlateauConfig,
)
from seqtrain.pipeline import train
from seqtrain.plugins import load_plugins
from seqtrain.tasks.base import TASKS
from seqtrain.training.screens.first_screen import warm_up_note


def test_a_warm_up_that_the_run_does_not_end_is_said() -> None:
    config = InverseSqrtConfig(warmup_updates=4000)
    (line,) = warm_up_note(InverseSqrt(config, peak_lr=1e-3, total_updates=60))
    assert "still rises at the last update, 60, and is 1.5e-05" in line


def test_a_warm_up_within_the_run_needs_no_word() -> None:
    config = InverseSqrtConfig(warmup_updates=50)
    assert warm_up_note(InverseSqrt(config, peak_lr=1e-3, total_updates=60)) == []
    assert warm_up_note(Fixed(FixedConfig(), peak_lr=1e-3, total_updates=60)) == []
    assert warm_up_note(InverseSqrt(config, peak_lr=1e-3)) == []


def test_a_schedule_with_a_state_is_not_asked_about_the_future() -> None:
    config = ReduceLROnPlateauConfig(warmup_updates=100)
    assert warm_up_note(ReduceLROnPlateau(config, peak_lr=1e-3, total_updates=60)) == []


def test_the_screen_has_notes_on_a_run_without_an_end_and_on_settings_that_are_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plugins([])
    text = write_toy_text(tmp_path / "text", num_train=8, num_valid=2)
    sections = {"optimization": {"max_epoch": 0}, "distributed": {"strategy": "fsdp"}}
    config = toy_config(text, tmp_path / "run", dry_run=True, **sections)
    TASKS.get("translation").cls.prepare(TASKS.parse(config["task"]), tmp_path / "data", 1)
    config["task"]["data"] = str(tmp_path / "data")
    train(config)
    screen = capsys.readouterr().out
    assert "note: task.train, task.valid and task.test are not used: " in screen
    assert "note: fsdp: not so in one process, which trains the plain model" in screen
    assert "note: it trains until it is interrupted" in screen
