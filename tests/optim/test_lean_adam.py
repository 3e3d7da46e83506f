"""Adam without the import of torch's compiler: the same numbers, and no import."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from seqtrain.optim.lean_adam import LeanAdam, LeanAdamW

PROGRAM = """
import sys, torch
from seqtrain.optim.adam import Adam, AdamConfig
p = torch.nn.Parameter(torch.ones(2))
optimizer = Adam(AdamConfig(), [("p", p)])
p.grad = torch.ones(2)
optimizer.set_lr(0.1)
optimizer.step()
assert p[0] < 0.95, p
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize(
    ("lean", "plain"), [(LeanAdam, torch.optim.Adam), (LeanAdamW, torch.optim.AdamW)]
)
def test_lean_and_plain_give_the_same_bits(lean: Any, plain: Any) -> None:
    results = []
    for cls in (lean, plain):
        torch.manual_seed(0)
        first, second = (torch.nn.Parameter(torch.randn(5, 3)) for _ in range(2))
        optimizer = cls([{"params": [first], "lr": 0.1}, {"params": [second]}], fused=True)
        for _ in range(3):
            for parameter in (first, second):
                parameter.grad = torch.randn(5, 3)
            optimizer.step()
        results.append([first, second, optimizer.state[first]["exp_avg_sq"]])
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_hooks_around_a_step_are_called() -> None:
    parameter, seen = torch.nn.Parameter(torch.ones(1)), []
    optimizer = LeanAdam([parameter])
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert seen == ["before", "after"]


def test_an_update_does_not_import_the_compiler() -> None:
    assert subprocess.run([sys.executable, "-c", PROGRAM], check=False).returncode == 0
