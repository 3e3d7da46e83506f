from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import final_state, history, run_forked, toy_config, write_toy_text

from seqtrain.checkpoint.load import read_newest
from seqtrain.criteria.base import LossOutput
from seqtrain.pipeline import train
from seqtrain.training.callbacks.base import Callback, CallbackConfig, register_callback
from seqtrain.training.resume import first_difference
from seqtrain.training.trainer import Trainer

# Threads of torch do not survive a fork.
torch.set_num_threads(1)


@dataclass(kw_only=True)
class OverflowConfig(CallbackConfig):
    """Makes gradients overflow after some updates while the loss scale is above a limit."""

    after_update: int = 4
    """Updates before it."""
    limit: float = 1024.0
    """Largest scale that does not overflow."""


@register_callback("test_overflow", config=OverflowConfig)
class Overflow(Callback):
    """See OverflowConfig."""

    def on_loss_computed(self, trainer: Trainer, loss: LossOutput) -> None:
        scale = trainer.precision.loss_scale or 0.0
        is_due = trainer.num_updates == self.config.after_update and scale > self.config.limit
        loss.total.register_hook(lambda grad: grad * torch.inf if is_due else grad)


FP16: dict[str, dict[str, Any]] = {
    "precision": {"dtype": "fp16", "init_scale": 2048.0, "scale_window": 3},
    "callback": {"test_overflow": {}},
    "optimization": {"max_skipped_updates": 1},
}
BF16: dict[str, dict[str, Any]] = {
    "precision": {"dtype": "bf16", "parameters": "bf16"},
    "ema": {"kind": "ema", "decay": 0.8},
}
FP16_LSTM = FP16 | {"model": {"name": "lstm", "dim": 8}}
SCHEDULE_FREE: dict[str, dict[str, Any]] = {
    "precision": {"dtype": "bf16", "parameters": "bf16"},
    "optimizer": {"name": "schedule_free_adamw", "lr": 0.01},
}


def config_of(text: Path, run_dir: Path, sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The toy run with these sections; a model takes the place of the toy's."""
    config = toy_config(text, run_dir, **{k: v for k, v in sections.items() if k != "model"})
    return config | {"model": sections.get("model", config["model"])}


@pytest.mark.parametrize(
    "sections",
    [FP16, FP16_LSTM, BF16, SCHEDULE_FREE],
    ids=["fp16", "fp16 lstm", "bf16", "points"],
)
def test_a_run_in_half_precision_ends_as_if_never_interrupted(
    tmp_path: Path, sections: dict[str, dict[str, Any]]
) -> None:
    text = write_toy_text(tmp_path / "text")
    straight, snapshots = tmp_path / "straight", tmp_path / "snapshots"
    length = {"max_epoch": 0, "max_update": 9}
    sections = sections | {"optimization": sections.get("optimization", {}) | length}
    callbacks = sections.get("callback", {}) | {"test_snapshot": {"into": str(snapshots)}}
    saving = {"checkpoint": {"save_interval_updates": 1}, "callback": callbacks}
    config = config_of(text, straight, sections | saving)
    assert run_forked(lambda: train(config)) == 0
    expected = final_state(straight)
    # Before the scale grows, right before the injected overflow, and after it.
    for update in (2, 4, 7):
        run_dir = snapshots / str(update)
        resumed = config_of(text, run_dir, sections)
        assert run_forked(lambda resumed=resumed: train(resumed)) == 0
        assert first_difference(expected, final_state(run_dir), "state") == ""
        assert history(run_dir) == history(straight), f"killed after update {update}"


def test_skips_of_a_falling_scale_are_logged_and_do_not_count_as_failures(tmp_path: Path) -> None:
    text, run_dir = write_toy_text(tmp_path / "text"), tmp_path / "run"
    sections = FP16 | {
        "optimization": {"max_update": 6, "max_epoch": 0, "max_skipped_updates": 1},
        "logging": {"interval": 1},
    }
    assert run_forked(lambda: train(toy_config(text, run_dir, **sections))) == 0
    scales = [row["loss_scale"] for row in history(run_dir) if row["event"] == "train"]
    # Doubled after three updates, then halved until the overflow is gone.
    assert scales == [2048.0, 2048.0, 2048.0, 4096.0, 1024.0, 1024.0]
    loaded = read_newest(run_dir / "checkpoints", print)
    assert loaded is not None
    assert loaded.parts["loop"]["state"]["skipped_updates"] == 2
    assert loaded.parts["trainer"]["precision"] == {"scale": 1024.0, "num_good_updates": 2}


def test_a_checkpoint_of_bfloat16_parameters_holds_masters_and_a_float32_average(
    tmp_path: Path,
) -> None:
    text, run_dir = write_toy_text(tmp_path / "text"), tmp_path / "run"
    sections = BF16 | {"optimization": {"max_update": 2, "max_epoch": 0}}
    assert run_forked(lambda: train(toy_config(text, run_dir, **sections))) == 0
    loaded = read_newest(run_dir / "checkpoints", print)
    assert loaded is not None
    for name, master in loaded.parts["optimizer"]["masters"].items():
        rounded = loaded.parts["model"][name.removeprefix("model.")]
        assert (rounded.dtype, master.dtype) == (torch.bfloat16, torch.float32)
        torch.testing.assert_close(master.bfloat16(), rounded, rtol=0, atol=0)
    averages = loaded.parts["ema"]["model"].values()
    assert {tensor.dtype for tensor in averages if tensor.is_floating_point()} == {torch.float32}
