from pathlib import Path

import pytest
import torch
from labelled_toy import recognition_config, write_toy_series
from processes import run_in_processes
from ranks import run_ranks, said
from torch import nn
from toy_run import final_state, history

from seqtrain.criteria.base import LossOutput
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.shared_buffers import SharedBuffers
from seqtrain.plugins import load_plugins
from seqtrain.training.build import build_run
from seqtrain.training.resume import first_difference
from seqtrain.training.run_config import RunConfig

PLUGIN = Path(__file__).with_name("rank_plugin.py")


class Mixed(nn.Module):
    """Buffers of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("queue", torch.zeros(3))
        self.register_buffer("is_full", torch.tensor(False))
        self.register_buffer("cache", torch.zeros(1), persistent=False)


def share_what_differs(collectives: Collectives) -> dict[str, list[float]]:
    module, rank = Mixed(), collectives.rank
    shared = SharedBuffers(module, collectives)
    module.norm(torch.tensor([[1.0, 2.0], [3.0, 6.0]]) * (1 + rank))
    if rank == 0:  # the other rank had an empty micro-batch besides
        module.norm(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    module.queue = torch.full((3,), float(rank + 1))  # another tensor in its place
    module.is_full.fill_(rank == 0)
    module.cache.fill_(float(rank))
    shared.share()
    return {name: b.double().reshape(-1).tolist() for name, b in module.named_buffers()}


def test_statistics_become_the_mean_over_ranks_and_other_buffers_those_of_rank_0() -> None:
    first, second = run_in_processes(share_what_differs, 2)
    assert first.pop("cache") == [0.0]  # in no checkpoint, so each rank's own
    assert second.pop("cache") == [1.0]
    assert first == second
    assert first["queue"] == [1.0] * 3
    assert first["is_full"] == [1.0]
    # Means of (2, 4) and (4, 8) with momentum 0.1; rank 0 has seen the first twice.
    own = 0.9 * 0.1 * 2 + 0.1 * 2
    assert first["norm.running_mean"] == pytest.approx([(own + 0.4) / 2, own + 0.4])
    assert first["norm.num_batches_tracked"] == [2.0]


def test_what_an_update_that_is_none_has_changed_is_taken_back() -> None:
    module = Mixed()
    shared = SharedBuffers(module, Collectives())
    module.norm(torch.randn(4, 2))
    before = {name: buffer.clone() for name, buffer in shared.named().items()}
    shared.remember()
    module.norm(torch.full((4, 2), torch.nan))
    module.queue = module.queue + 1.0
    shared.share()
    shared.restore()
    assert before.keys() == shared.named().keys()
    for name, buffer in shared.named().items():
        assert torch.equal(buffer, before[name]), name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    load_plugins([str(PLUGIN)])
    return write_toy_series(tmp_path_factory.mktemp("series"))


def test_a_skipped_update_leaves_running_statistics_as_they_were(
    data: Path, tmp_path: Path
) -> None:
    container = recognition_config(data, tmp_path / "run")
    container["model"] = {"name": "test_running_statistics"}
    run = build_run(RunConfig.parse(container), Collectives(), torch.device("cpu"))
    trainer = run.trainer

    def corrupt(loss: LossOutput) -> None:
        if trainer.num_updates == 1:
            loss.total.register_hook(lambda gradient: gradient * torch.nan)

    trainer.hooks.loss_computed = corrupt
    updates = trainer.train_epoch(run.iterator)
    assert next(updates).applied
    before = {name: buffer.clone() for name, buffer in trainer.model.named_buffers()}
    assert before["num_examples"] == 12
    assert not next(updates).applied
    for name, buffer in trainer.model.named_buffers():
        assert torch.equal(buffer, before[name]), name


def train(data: Path, run_dir: Path, max_update: int, strategy: str) -> None:
    config = recognition_config(
        data,
        run_dir,
        optimization={"max_update": max_update, "max_epoch": 0},
        validation={"validate_interval_updates": 4},
        distributed={"strategy": strategy, "check_interval_updates": 2},
        ema={"kind": "ema", "decay": 0.5},
    )
    config["model"] = {"name": "test_running_statistics"}
    folder = run_dir.with_name(f"{run_dir.name}-{max_update}")
    assert run_ranks(config, 2, folder) == [0, 0], said(folder)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_model_with_running_statistics_continues_on_two_ranks_to_the_same_bits(
    data: Path, tmp_path: Path, strategy: str
) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    train(data, straight, 8, strategy)
    for max_update in (3, 8):
        train(data, resumed, max_update, strategy)
    states = [final_state(straight), final_state(resumed)]
    assert first_difference(*states, "state") == ""
    assert int(states[0]["model"]["norm.num_batches_tracked"]) == 8
    assert int(states[0]["model"]["num_examples"]) > 40
    # Each rank evaluates some of the examples, with its own copy of the buffers.
    valid = [
        {row["num_updates"]: row["valid_loss"] for row in history(run_dir) if "valid_loss" in row}
        for run_dir in (straight, resumed)
    ]
    assert valid[0].keys() == {3, 4, 6, 8}
    assert valid[0] == valid[1]
