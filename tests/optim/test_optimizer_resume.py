"""Every optimizer trains, and continues in a new process to the last bit.

Run as a program, this file is that new process.
"""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqtrain.optim
from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.optim.base import OPTIMIZERS, OptimizerWrapper
from seqtrain.optim.torch_class import optimizer_classes

for _module in pkgutil.iter_modules(seqtrain.optim.__path__):
    importlib.import_module(f"seqtrain.optim.{_module.name}")
RATES = {"adadelta": 50.0, "Adadelta": 50.0, "lbfgs": 0.2, "LBFGS": 0.05, "nag": 0.01}


def _cases() -> dict[str, dict[str, Any]]:
    names = [name for name in OPTIMIZERS.names() if name != "torch"]
    cases = {name: {"name": name, "lr": RATES.get(name, 0.05)} for name in names}
    for cls in optimizer_classes():
        cases[f"torch.{cls}"] = {"name": "torch", "cls": cls, "lr": RATES.get(cls, 0.05)}
    cases["adamw in groups"] = {
        "name": "adamw",
        "lr": 0.05,
        "no_decay": True,
        "groups": [
            {"pattern": "hidden.*", "lr_factor": 0.5, "freeze_updates": 12},
            {"pattern": "embed.*", "freeze": True},
        ],
    }
    cases["composite"] = {
        "name": "composite",
        "lr": 0.05,
        "members": [
            {"pattern": "embed.*", "name": "schedule_free_adamw", "lr": 0.05},
            {
                "pattern": "*",
                "name": "sgd",
                "lr": 0.1,
                "momentum": 0.9,
                "groups": [{"pattern": "*.bias", "freeze_updates": 12}],
            },
        ],
    }
    return cases


CASES = _cases()


class SmallModel(nn.Module):
    def __init__(self, is_sparse: bool, has_bias: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(7, 4, sparse=is_sparse)
        self.hidden = nn.Linear(4, 5, bias=has_bias)
        self.last = nn.Linear(5, 3, bias=has_bias)

    def forward(self) -> Tensor:
        x = torch.arange(6)
        logits = self.last(torch.tanh(self.hidden(self.embed(x))))
        return nn.functional.cross_entropy(logits, x % 3)


def _build(case: str) -> tuple[SmallModel, OptimizerWrapper]:
    model = SmallModel(
        is_sparse=case in ("sparse_adam", "torch.SparseAdam"), has_bias=case != "torch.Muon"
    )
    named = list(model.named_parameters())
    if case == "torch.SparseAdam":
        named = [(name, p) for name, p in named if name.startswith("embed")]
    config = OPTIMIZERS.parse(CASES[case])
    return model, OPTIMIZERS.get(config.name).cls(config, named)


def _train(model: SmallModel, optimizer: OptimizerWrapper, updates: range) -> None:
    def compute_gradients() -> Tensor:
        optimizer.zero_grad()
        loss = model()
        optimizer.backward(loss)
        optimizer.clip_grad_norm(5.0)
        return loss

    for update in updates:
        optimizer.set_lr(optimizer.config.lr * 0.98**update)
        compute_gradients()
        optimizer.step(compute_gradients if optimizer.needs_closure else None)


def _snapshot(model: SmallModel, optimizer: OptimizerWrapper) -> tuple[Any, Any]:
    optimizer.prepare_for_evaluation()
    return model.state_dict(), optimizer.state_dict()


def _save(directory: Path, num_updates: int, states: dict[str, tuple[Any, Any]]) -> Path:
    parts = {
        "model": {case: state[0] for case, state in states.items()},
        "optimizer": {case: state[1] for case, state in states.items()},
    }
    return write_checkpoint(directory, num_updates, parts, {})


def _continue_all(directory: Path) -> None:
    parts = read_checkpoint(next(directory.glob("step-*10"))).parts
    states = {}
    for case in CASES:
        model, optimizer = _build(case)
        optimizer.load_state_dict(parts["optimizer"][case])
        model.load_state_dict(parts["model"][case])
        _train(model, optimizer, range(10, 20))
        states[case] = _snapshot(model, optimizer)
    _save(directory, 20, states)


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("optimizers")
    states = {}
    for case in CASES:
        model, optimizer = _build(case)
        _train(model, optimizer, range(10))
        states[case] = _snapshot(model, optimizer)
    _save(directory, 10, states)
    subprocess.run([sys.executable, __file__, str(directory)], check=True, timeout=120)
    return read_checkpoint(next(directory.glob("step-*20"))).parts


def _flatten(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in [key, *_flatten(tree[key])]]
    if isinstance(tree, list | tuple):
        return [leaf for item in tree for leaf in _flatten(item)]
    if isinstance(tree, Tensor):
        return [(str(tree.dtype), tuple(tree.shape), tree.contiguous().numpy().tobytes())]
    return [tree]


@pytest.mark.parametrize("case", CASES)
def test_ten_updates_and_ten_in_a_new_process_are_twenty(
    case: str, continued: dict[str, Any]
) -> None:
    model, optimizer = _build(case)
    before = model().item()
    _train(model, optimizer, range(20))
    weights, state = _snapshot(model, optimizer)
    assert model().item() < 0.9 * before
    assert _flatten(continued["model"][case]) == _flatten(dict(weights))
    assert _flatten(continued["optimizer"][case]) == _flatten(state)


if __name__ == "__main__":
    _continue_all(Path(sys.argv[1]))
