"""How a run ends, what it leaves, and that the same command then does what it should."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy_command import overrides
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.checkpoint.layout import committed
from seqtrain.checkpoint.load import resolve
from seqtrain.criteria.base import LossOutput
from seqtrain.errors import ConfigError
from seqtrain.pipeline import train
from seqtrain.training.callbacks.base import (
    Callback,
    CallbackConfig,
    Request,
    register_callback,
)
from seqtrain.training.resume import first_difference
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import StepResult
from seqtrain_cli import train as command

CONSOLE: dict[str, Any] = {"console": {}, "jsonl": {}}


@dataclass(kw_only=True)
class SignalConfig(CallbackConfig):
    """Sends this process a signal in the middle of an update."""

    number: int = 0
    """Number of the signal."""
    in_update: int = 0
    """The update; the first is 1."""


@register_callback("test_signal", config=SignalConfig)
class SignalInUpdate(Callback):
    """See SignalConfig."""

    def on_loss_computed(self, trainer: Trainer, loss: LossOutput) -> None:
        if trainer.num_updates + 1 == self.config.in_update:
            signal.raise_signal(self.config.number)


@dataclass(kw_only=True)
class AskConfig(CallbackConfig):
    """Asks the loop for something after an update."""

    request: str = "stop"
    """Value of the Request."""
    after_update: int = 0
    """The update."""


@register_callback("test_ask", config=AskConfig)
class Ask(Callback):
    """See AskConfig."""

    def on_update_end(self, trainer: Trainer, result: StepResult) -> Request | None:
        asks = trainer.num_updates == self.config.after_update
        return Request(self.config.request) if asks else None


def saved_updates(run_dir: Path) -> list[int]:
    """Returns the update counts of the checkpoints, ascending."""
    return sorted(
        int(path.name.removeprefix("step-")) for path in committed(run_dir / "checkpoints")
    )


def rows(run_dir: Path, event: str) -> list[dict[str, Any]]:
    return [row for row in history(run_dir) if row["event"] == event]


def assert_same_weights(one: Path, other: Path) -> None:
    """Parameters and optimizer are the same to the last bit."""
    assert first_difference(final_state(one), final_state(other), "state") == ""
    name = f"checkpoints/step-{saved_updates(one)[-1]:010d}/model.safetensors"
    assert (one / name).read_bytes() == (other / name).read_bytes()


def assert_same_end(one: Path, other: Path) -> None:
    """So are the history and the test."""
    assert_same_weights(one, other)
    assert history(one) == history(other)
    assert (one / "test_metrics.json").read_bytes() == (other / "test_metrics.json").read_bytes()


@pytest.fixture(scope="module")
def toy_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_text(tmp_path_factory.mktemp("stopping") / "text")


@pytest.fixture(scope="module")
def straight(toy_text: Path) -> Path:
    """Two epochs without a stop: 24 updates."""
    run_dir = toy_text.parent / "straight"
    assert train(toy_config(toy_text, run_dir)).num_updates == 24
    return run_dir


@pytest.mark.parametrize(
    ("name", "in_update", "exit_code"), [("SIGTERM", 7, 143), ("SIGINT", 12, 130)]
)
def test_a_signal_saves_at_the_end_of_the_update_and_the_same_command_goes_on(
    run: Any, toy_text: Path, straight: Path, tmp_path: Path, name: str, in_update: int,
    exit_code: int,
) -> None:  # fmt: skip
    run_dir = tmp_path / "run"
    words = overrides(toy_config(toy_text, run_dir))
    number = int(signal.Signals[name])
    signalling = [f"callback.test_signal.{k}={v}" for k, v in
                  (("number", number), ("in_update", in_update))]  # fmt: skip
    outcome = run(command.COMMAND, *words, "callback=[test_signal]", *signalling)
    assert outcome.exit_code == exit_code
    assert outcome.error == ""
    assert f"stopped by a signal after update {in_update}; everything is saved" in outcome.out
    assert saved_updates(run_dir)[-1] == in_update
    assert not (run_dir / "test_metrics.json").exists()
    assert run(command.COMMAND, *words).exit_code == 0
    assert_same_end(straight, run_dir)


def test_a_signal_from_outside_to_the_real_command_does_the_same(
    toy_text: Path, tmp_path: Path, run: Any
) -> None:
    run_dir = tmp_path / "run"
    endless = {"optimization": {"max_epoch": 10_000}}
    with subprocess.Popen(
        [
            sys.executable,
            *("-m", "seqtrain_cli.train"),
            *overrides(toy_config(toy_text, run_dir, **endless)),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        metrics = run_dir / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (143, "")
    stopped = saved_updates(run_dir)[-1]
    assert f"stopped by a signal after update {stopped};" in out
    limit = {"optimization": {"max_epoch": stopped // 12 + 2}}  # twelve updates each
    words = overrides(toy_config(toy_text, run_dir, **limit))
    assert run(command.COMMAND, *words).exit_code == 0
    train(toy_config(toy_text, tmp_path / "straight", **limit))
    assert_same_end(tmp_path / "straight", run_dir)


@pytest.mark.parametrize(
    ("limits", "last"),
    [({"max_update": 5, "max_epoch": 0}, 5), ({"max_epoch": 1}, 12), ({"max_update": 30}, 24)],
)
def test_a_run_ends_at_the_first_limit(
    toy_text: Path, tmp_path: Path, limits: dict[str, int], last: int
) -> None:
    assert train(toy_config(toy_text, tmp_path / "run", optimization=limits)).num_updates == last
    assert saved_updates(tmp_path / "run")[-1] == last
    assert rows(tmp_path / "run", "valid")[-1]["num_updates"] == last


def test_a_run_out_of_time_validates_saves_and_tests(toy_text: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    limits = {"stop_time_hours": 1e-9}
    result = train(toy_config(toy_text, run_dir, optimization=limits))
    assert 1 <= result.num_updates <= 2
    assert saved_updates(run_dir)[-1] == result.num_updates
    assert rows(run_dir, "valid")[-1]["num_updates"] == result.num_updates
    assert result.test
    again = train(toy_config(toy_text, run_dir, optimization=limits))
    assert again.num_updates == result.num_updates
    more = train(toy_config(toy_text, run_dir, optimization={"stop_time_hours": 1}))
    assert more.num_updates == 24


def test_patience_ends_a_run_and_the_same_command_has_nothing_left_to_do(
    toy_text: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    sections: dict[str, dict[str, Any]] = {
        # The loss falls, so the largest is the first one.
        "checkpoint": {"patience": 2, "maximize_best_metric": True},
        "validation": {"validate_interval_updates": 3},
        "optimization": {"max_epoch": 4},
    }
    result = train(toy_config(toy_text, run_dir, **sections))
    losses = [row["valid_loss"] for row in rows(run_dir, "valid")]
    assert losses[0] == max(losses)
    assert result.num_updates == 9
    assert result.best_checkpoint == run_dir / "checkpoints/step-0000000003"
    before = history(run_dir)
    again = train(toy_config(toy_text, run_dir, **sections))
    assert (again.num_updates, again.best_checkpoint) == (9, result.best_checkpoint)
    assert [row for row in history(run_dir) if row["event"] != "test"] == [
        row for row in before if row["event"] != "test"
    ]
    sections["checkpoint"]["patience"] = 3
    assert train(toy_config(toy_text, run_dir, **sections)).num_updates == 12


@pytest.mark.parametrize("request_name", ["stop", "validate", "save"])
def test_what_a_callback_asks_for_is_done_after_the_update(
    toy_text: Path, tmp_path: Path, request_name: str
) -> None:
    run_dir = tmp_path / "run"
    ask = {"test_ask": {"request": request_name, "after_update": 5}}
    result = train(
        toy_config(
            toy_text,
            run_dir,
            callback=ask,
            validation={"validate_interval_updates": 0, "validate_interval": 0},
            optimization={"max_update": 7},
        )
    )
    assert result.num_updates == (5 if request_name == "stop" else 7)
    validated = [row["num_updates"] for row in rows(run_dir, "valid")]
    assert validated == {"stop": [5], "validate": [5, 7], "save": [7]}[request_name]
    # A validation with a new best is saved, and so is the end.
    assert 5 in saved_updates(run_dir)


def test_the_best_checkpoint_is_that_of_the_largest_value_where_larger_is_better(
    toy_text: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    result = train(
        toy_config(
            toy_text,
            run_dir,
            validation={"validate_interval_updates": 2, "generate": True},
            checkpoint={"best_metric": "valid_wer", "maximize_best_metric": True},
            task={"scorers": ["wer"]},
            optimizer={"lr": 0.03},
        )
    )
    values = {row["num_updates"]: row["valid_wer"] for row in rows(run_dir, "valid")}
    assert len(set(values.values())) > 2
    best = max(values, key=lambda update: (values[update], -update))
    assert resolve(run_dir).name == f"step-{best:010d}"
    assert (result.best_metric, result.best_checkpoint) == (values[best], resolve(run_dir))


def test_the_test_at_the_end_is_of_the_best_checkpoint(
    run: Any, toy_text: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    sections: dict[str, dict[str, Any]] = {
        "checkpoint": {"maximize_best_metric": True},
        "validation": {"validate_interval_updates": 2, "test_interval_updates": 2},
        "optimization": {"max_update": 8},
    }
    result = train(toy_config(toy_text, run_dir, **sections))
    assert result.best_checkpoint is not None
    assert result.best_checkpoint.name == "step-0000000002"
    tests = rows(run_dir, "test")
    assert [row["num_updates"] for row in tests] == [2, 4, 6, 8, 8]
    assert tests[-1]["test_loss"] == tests[0]["test_loss"] != tests[-2]["test_loss"]
    written = json.loads((run_dir / "test_metrics.json").read_text())
    assert written["test_loss"] == tests[0]["test_loss"]


def test_the_last_update_is_validated_and_saved_whatever_the_interval(
    toy_text: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    train(toy_config(toy_text, run_dir, optimization={"max_update": 6}))
    assert [row["num_updates"] for row in rows(run_dir, "valid")] == [4, 6]
    assert saved_updates(run_dir)[-1] == 6


def test_every_validation_set_is_logged_by_its_name(toy_text: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    train(
        toy_config(
            toy_text,
            run_dir,
            task={"extra_splits": {"other": str(toy_text / "train")}},
            validation={"splits": ["valid", "other"]},
            optimization={"max_update": 4},
        )
    )
    (row,) = rows(run_dir, "valid")
    assert {"valid_loss", "valid_ppl", "valid_other_loss", "valid_other_ppl"} <= row.keys()
    assert row["valid_loss"] != row["valid_other_loss"]
    assert row["valid_best"] == row["valid_loss"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", "the changed max_update moves the learning rate of update 7 from "),
        ("fixed", "the changed max_update leaves the learning rate as it was"),
    ],
)
def test_a_raised_max_update_says_what_it_does_to_the_schedule(
    run: Any, toy_text: Path, tmp_path: Path, schedule: str, expected: str
) -> None:
    sections: dict[str, Any] = {
        "lr_scheduler": {"name": schedule, "warmup_updates": 2},
        "log_writer": CONSOLE,
    }
    words = overrides(toy_config(toy_text, tmp_path / "run", **sections))
    outcome = run(command.COMMAND, *words, "optimization.max_update=6")
    assert outcome.exit_code == 0
    assert "the changed max_update" not in outcome.out
    outcome = run(command.COMMAND, *words, "optimization.max_update=12")
    assert outcome.exit_code == 0
    assert expected in outcome.out
    assert "changed since the checkpoint: optimization.max_update 6 -> 12" in outcome.out
    assert saved_updates(tmp_path / "run")[-1] == 12


def test_changed_settings_are_refused_with_both_values_and_nothing_changes(
    run: Any, refused: Any, toy_text: Path, straight: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    words = overrides(toy_config(toy_text, run_dir, optimization={"max_update": 6}))
    assert run(command.COMMAND, *words).exit_code == 0
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    expected = [
        "dataset.max_tokens was 24, is 30; optimizer.lr was 0.01, is 0.02; seed was 3, is 4",
        "Set them back",
        "take another run_dir",
    ]
    changes = ["dataset.max_tokens=30", "optimizer.lr=0.02", "seed=4"]
    refused(2, expected, command.COMMAND, *words, *changes)
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    lock = run_dir / "run.lock"
    assert before.pop(lock) == after.pop(lock) == b""
    assert before == after
    raised = [word for word in words if not word.startswith("optimization.max_update")]
    assert run(command.COMMAND, *raised).exit_code == 0
    assert_same_weights(straight, run_dir)


def test_changed_data_is_refused_until_it_is_as_it_was(
    run: Any, refused: Any, text: Path, straight: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    words = overrides(toy_config(text, run_dir))
    assert run(command.COMMAND, *words, "optimization.max_update=6").exit_code == 0
    content = {path: path.read_text() for path in text.iterdir()}

    def change(name: str, old: str, new: str) -> None:
        assert old in content[text / name]
        (text / name).write_text(content[text / name].replace(old, new, 1))

    change("train.x", "a", "zebra")
    refused(3, ["The data differs", "vocabulary", "another run_dir"], command.COMMAND, *words)
    change("train.x", "a", "a a")
    refused(3, ["another run_dir"], command.COMMAND, *words)
    (text / "train.x").write_text(content[text / "train.x"])
    assert run(command.COMMAND, *words).exit_code == 0
    assert_same_weights(straight, run_dir)


def damage(checkpoint: Path) -> None:
    path = checkpoint / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_run_goes_back_behind_a_damaged_checkpoint_and_refuses_if_all_are(
    run: Any, refused: Any, toy_text: Path, straight: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    sections: dict[str, Any] = {"checkpoint": {"save_interval_updates": 2}, "log_writer": CONSOLE}
    words = overrides(toy_config(toy_text, run_dir, **sections))
    assert run(command.COMMAND, *words, "optimization.max_update=7").exit_code == 0
    for path in committed(run_dir / "checkpoints"):
        damage(path)
    expected = ["No checkpoint in", "optimizer.safetensors", "does not begin anew by itself"]
    refused(4, expected, command.COMMAND, *words)
    newest, second, *_ = committed(run_dir / "checkpoints")
    damage(second)  # the same bit again: it is whole now
    outcome = run(command.COMMAND, *words)
    assert outcome.exit_code == 0
    lines = [line for line in outcome.out.splitlines() if line.startswith("cannot use")]
    assert len(lines) == 1
    assert f"cannot use {newest.name}: " in lines[0]
    assert f"going back to {second.name}: up to 7 updates had been saved" in outcome.out
    assert_same_end(straight, run_dir)


def test_a_metric_that_is_never_measured_is_refused_before_the_first_update(
    toy_text: Path, tmp_path: Path
) -> None:
    config = toy_config(toy_text, tmp_path / "run", checkpoint={"best_metric": "valid_wer"})
    with pytest.raises(ConfigError, match=r"best_metric \('valid_wer'\).*validation\.generate"):
        train(config)
    assert saved_updates(tmp_path / "run") == []
