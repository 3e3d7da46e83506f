from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.checkpoint.tree import trees_equal
from seqtrain.errors import MachineError
from seqtrain.models.base import ModelContext, register_model
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.pipeline import train
from seqtrain.training.update_faults import is_out_of_memory


@dataclass(kw_only=True)
class FaultyConfig(LSTMConfig):
    """An LSTM that fails on batches with a long source."""

    dim: int = 8
    """Width."""
    fault: str = "memory"
    """memory, or nan in the output of a layer, or nan in a gradient."""
    from_length: int = 8
    """Sources of so many positions make it fail."""


class _NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * torch.nan


class Scale(nn.Module):
    """Multiplies; by nan if told to."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@register_model("test_faulty", config=FaultyConfig)
class Faulty(LSTMModel):
    """See FaultyConfig."""

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "Faulty":
        model = super().from_config(config, context)
        model.settings = config
        model.scale = Scale()
        return model

    def encode(self, source_tokens: Tensor) -> dict[str, Tensor]:
        is_faulty = self.training and source_tokens.size(1) >= self.settings.from_length
        if is_faulty and self.settings.fault == "memory":
            torch.empty(2**60, dtype=torch.uint8)
        memory = super().encode(source_tokens)
        self.scale.factor = float("nan") if is_faulty and self.settings.fault == "output" else 1.0
        name = next(name for name, value in memory.items() if value.is_floating_point())
        memory[name] = self.scale(memory[name])
        if is_faulty and self.settings.fault == "gradient":
            memory[name] = _NanGradient.apply(memory[name])
        return memory


def run_with_fault(
    tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str], **optimization: int
) -> str:
    text = write_toy_text(tmp_path / "text")
    train(
        faulty_config(
            text,
            tmp_path / "run",
            {"name": "test_faulty", "fault": fault},
            optimization={"max_epoch": 2} | optimization,
            log_writer={"console": {}, "jsonl": {}},
        )
    )
    return capsys.readouterr().out


def faulty_config(text: Path, run_dir: Path, model: dict[str, Any], **sections: Any) -> Any:
    """Returns a run with exactly this model section."""
    return toy_config(text, run_dir, **sections) | {"model": model}


def test_an_update_without_memory_is_skipped_with_its_examples_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_with_fault(tmp_path, "memory", capsys)
    skipped = [line for line in out.splitlines() if "skipped: memory ran out" in line]
    assert skipped
    faults = [line for line in out.splitlines() if "out of memory on a batch of examples" in line]
    assert len(faults) == len(skipped)
    assert "source_tokens [" in faults[0]
    rows = history(tmp_path / "run")
    assert rows[-1]["num_updates"] + len(skipped) == 2 * updates_in_an_epoch(tmp_path)


def updates_in_an_epoch(tmp_path: Path) -> int:
    text = tmp_path / "text"
    model = {"name": "lstm", "dim": 8}
    config = faulty_config(text, tmp_path / "sound", model, optimization={"max_epoch": 1})
    return train(config).num_updates


def test_too_many_updates_without_memory_end_the_run_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_toy_text(tmp_path / "text")
    model = {"name": "test_faulty", "from_length": 2}
    config = faulty_config(text, tmp_path / "run", model, optimization={"max_skipped_updates": 3})
    with pytest.raises(MachineError, match=r"3 updates in a row.*dataset\.max_tokens"):
        train(config)


@pytest.mark.parametrize(
    ("fault", "place"),
    [
        ("output", "first in the output of model.scale"),
        ("gradient", "the loss is finite; first in the gradient of model."),
    ],
)
def test_what_was_not_finite_is_named_with_the_examples(
    fault: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_with_fault(tmp_path, fault, capsys)
    lines = out.splitlines()
    skipped = [index for index, line in enumerate(lines) if "gradient is not finite" in line]
    assert skipped
    for index in skipped:
        assert "batch of examples" in lines[index + 1]
        assert place in lines[index + 1]


def test_looking_for_the_fault_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with_fault(tmp_path, "output", capsys)
    looked = final_state(tmp_path / "run")
    monkeypatch.setattr("seqtrain.training.trainer.find_non_finite", lambda *_: [])
    text = tmp_path / "text"
    model = {"name": "test_faulty", "fault": "output"}
    train(faulty_config(text, tmp_path / "again", model))
    assert trees_equal(looked, final_state(tmp_path / "again"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 bytes"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_a_refusal_of_memory_counts_as_one(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
