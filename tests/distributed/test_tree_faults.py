import os
from itertools import islice
from pathlib import Path

import torch
from processes import run_in_processes
from torch import Tensor
from toy_run import toy_config, write_toy_text

from seqtrain.criteria.base import LossOutput
from seqtrain.distributed.collectives import Collectives
from seqtrain.plugins import load_plugins
from seqtrain.training.build import build_run
from seqtrain.training.run_config import RunConfig


def run_out_of_memory_in_backward(
    collectives: Collectives, folder: str
) -> tuple[list[bool], list[bool], bytes]:
    """Returns which of two updates were applied and which ran out of memory, and the weights."""
    os.environ["SEQTRAIN_DISABLE_PLUGINS"] = "1"
    load_plugins([])
    settings = {"deterministic_elastic": True}
    container = toy_config(Path(folder) / "text", Path(folder) / "run", distributed=settings)
    run = build_run(RunConfig.parse(container), collectives, torch.device("cpu"))

    losses: list[LossOutput] = []

    def refuse(_: Tensor) -> None:
        raise MemoryError

    def prepare(loss: LossOutput) -> None:
        if collectives.rank == 1 and not losses:
            loss.total.register_hook(refuse)
        losses.append(loss)

    run.trainer.hooks.loss_computed = prepare
    results = list(islice(run.trainer.train_epoch(run.iterator), 2))
    weights = torch.cat([p.detach().view(-1) for p in run.trainer.model.parameters()])
    return (
        [result.applied for result in results],
        [result.ran_out_of_memory for result in results],
        weights.numpy().tobytes(),
    )


def test_memory_that_runs_out_in_a_backward_pass_costs_one_update_on_every_rank(
    tmp_path: Path,
) -> None:
    write_toy_text(tmp_path / "text")
    first, second = run_in_processes(run_out_of_memory_in_backward, 2, str(tmp_path))
    assert first == second
    assert first[:2] == ([False, True], [True, False])
