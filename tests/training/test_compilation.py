"""optimization.compile: the same training, by other code."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters
from toy_run import final_state, run_forked, toy_config, write_toy_text

from seqtrain.errors import ConfigError, MachineError
from seqtrain.modules.feed_forward import FeedForward
from seqtrain.pipeline import train
from seqtrain.plugins import load_plugins
from seqtrain.training.compilation import compile_passes
from seqtrain.training.resume import first_difference
from seqtrain.training.run_config import RunConfig

torch.set_num_threads(1)
CPU = torch.device("cpu")
# The compiler imports what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


def config(**sections: dict[str, Any]) -> RunConfig:
    load_plugins([])
    return RunConfig.parse(toy_config(Path("text"), Path("run"), **sections))


def test_parameters_in_several_processes_are_refused() -> None:
    divided = config(distributed={"num_processes": 2, "strategy": "fsdp"})
    with pytest.raises(ConfigError, match=r"optimization\.compile .* distributed\.strategy"):
        compile_passes(torch.nn.Identity(), divided, CPU)


def test_a_machine_without_a_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MachineError, match="no-such-compiler"):
        compile_passes(torch.nn.Identity(), config(), CPU)


@pytest.mark.slow
def test_a_compiled_run_learns_the_same_and_resumes_exactly(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")

    def trained(name: str, max_update: int, is_compiled: bool, **model: float) -> dict[str, Any]:
        toy = toy_config(
            text,
            tmp_path / name,
            optimization={"max_update": max_update, "compile": is_compiled},
            optimizer={"name": "sgd", "lr": 0.1},  # Adam makes much of gradients that should be 0
            model=model,
        )
        assert run_forked(lambda: train(toy)) == 0
        return final_state(tmp_path / name)

    # Dropout draws for rows without padding here and for rectangles there.
    plain = trained("plain", 6, is_compiled=False, dropout=0.0)["model"]
    for name, tensor in trained("compiled", 6, is_compiled=True, dropout=0.0)["model"].items():
        torch.testing.assert_close(tensor, plain[name], rtol=1e-4, atol=1e-5)
    straight = trained("straight", 6, is_compiled=True)
    trained("resumed", 3, is_compiled=True)
    resumed = trained("resumed", 6, is_compiled=True)
    for part in ("model", "optimizer"):
        assert first_difference(straight[part], resumed[part], part) == ""


@pytest.mark.slow
def test_batches_of_other_shapes_need_no_other_code() -> None:
    torch._dynamo.reset()
    counters["stats"].clear()
    layer = FeedForward(8, 16, torch.relu, dropout=0.2, has_bias=True)
    compiled = torch.compile(layer, dynamic=True, fullgraph=True)
    for batch, time in ((5, 7), (3, 9), (8, 4)):
        x = torch.randn(batch, time, 8, requires_grad=True)
        torch.manual_seed(1)
        found = compiled(x)
        torch.manual_seed(1)
        torch.testing.assert_close(found, layer(x))
        found.sum().backward()
    assert counters["stats"]["unique_graphs"] == 1
