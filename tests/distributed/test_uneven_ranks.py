from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import run_in_processes
from ranks import run_ranks, said
from torch import nn
from toy_command import overrides
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig
from seqtrain.distributed.parallelize import gradient_sync, wrap_data_parallel
from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference

PLUGIN = Path(__file__).with_name("rank_plugin.py")


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    load_plugins([str(PLUGIN)])


def train(text: Path, run_dir: Path, world_size: int, **sections: Any) -> tuple[list[int], str]:
    """Returns the exit codes and what the ranks said."""
    words = [f"plugins=[{PLUGIN}]", *overrides(toy_config(text, run_dir, **sections))]
    folder = run_dir.with_name(f"{run_dir.name}-output")
    return run_ranks(words, world_size, folder), said(folder)


def test_a_rank_without_any_data_changes_no_bit(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text", num_train=3, num_valid=1)
    sections: dict[str, Any] = {
        "dataset": {"max_tokens": 100},  # all examples are one micro-batch
        "optimization": {"max_update": 6, "max_epoch": 0},
    }
    for world_size in (1, 2):
        codes, errors = train(text, tmp_path / str(world_size), world_size, **sections)
        assert codes == [0] * world_size, errors
    states = [final_state(tmp_path / name) for name in ("1", "2")]
    assert first_difference(*states, "state") == ""
    rows = [row for row in history(tmp_path / "2") if row["event"] == "train"]
    assert {row["bsz"] for row in rows} == {3.0}


def test_a_rank_with_another_gradient_is_found_with_the_name_of_the_parameter(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")
    codes, errors = train(
        text,
        tmp_path / "run",
        2,
        distributed={"check_interval_updates": 2},
        callback={"test_other_gradient": {}},
    )
    assert codes == [6, 6], errors
    assert "After update 4 the parameter model.decoder.layers.0.fc1.weight" in errors
    assert "is not the same on all ranks" in errors


def trained_on_squares(collectives: Collectives, dtype: torch.dtype) -> bytes:
    """Trains on 4 micro-batches of unequal sizes by SGD, added up as DDP does it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Linear(32, 8)).to(dtype)
    module = wrap_data_parallel(model, collectives, DistributedConfig())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    share = 4 // collectives.world_size
    for update in range(20):
        optimizer.zero_grad()
        for index in range(share):
            torch.manual_seed(100 * update + collectives.rank * share + index)
            inputs = torch.randn(3 + collectives.rank * share + index, 12, dtype=torch.float64)
            with gradient_sync(module, enabled=index == share - 1):
                module(inputs.to(dtype)).square().sum().backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad *= collectives.world_size / 18  # rows of 3, 4, 5 and 6 in all
        optimizer.step()
    return b"".join(p.detach().double().numpy().tobytes() for p in model.parameters())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_without_the_tree_other_numbers_of_ranks_differ_by_rounding_alone(
    dtype: torch.dtype, tolerance: float
) -> None:
    alone = np.frombuffer(trained_on_squares(Collectives(), dtype))
    for world_size in (2, 4):
        for found in run_in_processes(trained_on_squares, world_size, dtype):
            np.testing.assert_allclose(np.frombuffer(found), alone, rtol=0, atol=tolerance)
