from pathlib import Path
from typing import Any

import pytest
import torch
from numerics.test_contract import (
    CASES,
    CPU,
    STEPS,
    SYMBOLS,
    TASK,
    TEACHER,
    Case,
    PartlyUsed,
    make_trainer,
)
from processes import run_in_processes
from strategy_runs import build
from torch import nn
from toy_run import write_toy_text

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.distributed.blocks import local_part, whole_of
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig
from seqtrain.errors import DistributedError
from seqtrain.models.base import MODELS
from seqtrain.optim.adam import Adam, AdamConfig
from seqtrain.optim.spread_optimizer import SpreadOptimizer
from seqtrain.training.loss_module import LossModule
from seqtrain.training.spread import spread_over_ranks
from seqtrain.training.trainer import Trainer

DIVIDED = DistributedConfig(strategy="fsdp")


class LayerByLayer(PartlyUsed):
    """The contract's model, whose layers are gathered one by one where the inner one says so."""

    def layers_to_shard(self) -> list[nn.Module]:
        return self.model.layers_to_shard()


def spread_trainer(case: Case, teacher: str, collectives: Collectives) -> Trainer:
    plain = make_trainer(case, teacher, Collectives())
    model = LayerByLayer(plain.model.model)
    model.load_state_dict(plain.model.state_dict())
    module = LossModule(model, plain.criterion, reaches_all=True)
    spread = spread_over_ranks(module, DIVIDED, collectives, CPU)
    assert spread is not None
    parameters = [*model.named_parameters(), *plain.criterion.named_parameters(prefix="criterion")]
    return Trainer(
        model=model,
        criterion=plain.criterion,
        optimizer=SpreadOptimizer(Adam, AdamConfig(), parameters, spread.norm, spread.add_up),
        lr_scheduler=plain.lr_scheduler,
        precision=plain.precision,
        settings=plain.settings,
        device=CPU,
        collectives=collectives,
        spread=spread,
    )


def whole_gradients(trainer: Trainer) -> dict[str, Any]:
    spread = dict(trainer.model.named_parameters())
    spread |= dict(trainer.criterion.named_parameters(prefix="criterion"))
    parts = trainer.optimizer.parameters
    return {name: whole_of(spread[name], part.grad).tolist() for name, part in parts.items()}


def each_once(cases: list[Case]) -> list[Case]:
    """Returns cases with every model and every criterion in one of them."""
    chosen: list[Case] = []
    for case in cases:
        has_model = any(case.model == other.model for other in chosen)
        if not has_model or all(case.criterion != other.criterion for other in chosen):
            chosen.append(case)
    return chosen


def run_steps(
    collectives: Collectives, teacher: str, cases: list[str], num_steps: int
) -> list[Any]:
    """Runs steps of the cases; alone, with the micro-batches of both ranks."""
    results = []
    is_alone = collectives.world_size == 1
    for case in (case for case in CASES if str(case) in cases):
        trainer = (make_trainer if is_alone else spread_trainer)(case, teacher, collectives)
        batches = case.batches()
        for step in STEPS[-num_steps:]:
            names = [*step[0], *step[1]] if is_alone else step[collectives.rank]
            first_index = collectives.rank * len(names)
            metrics, totals = trainer.compute_gradients([batches[n] for n in names], first_index)
            gradients = whole_gradients(trainer)
            results.append((str(case), gradients, metrics.compute(), totals.tolist()))
    return results


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    model = MODELS.get("lstm").cls.from_config(MODELS.parse(TEACHER), SYMBOLS)
    parts = {"config": {"model": TEACHER}, "task": TASK, "model": model.state_dict()}
    return str(write_checkpoint(tmp_path_factory.mktemp("teacher"), 1, parts, {}))


@pytest.mark.parametrize(
    ("cases", "num_steps"),
    [
        pytest.param(each_once(CASES), 2, id="each once"),
        pytest.param(CASES, len(STEPS), id="all", marks=pytest.mark.slow),
    ],
)
def test_every_model_and_criterion_has_the_gradients_of_one_process_whatever_is_unused(
    teacher: str, cases: list[Case], num_steps: int
) -> None:
    names = [str(case) for case in cases]
    first, second = run_in_processes(run_steps, 2, teacher, names, num_steps, timeout_seconds=300.0)
    expected = run_steps(Collectives(), teacher, names, num_steps)
    for one, other, alone in zip(first, second, expected, strict=True):
        case = one[0]

        def say(text: str, case: str = case) -> str:
            return f"{case}: {text}"

        torch.testing.assert_close(one[1:], other[1:], rtol=0, atol=0, equal_nan=True, msg=say)
        torch.testing.assert_close(
            one[1:], alone[1:], rtol=1e-4, atol=1e-6, equal_nan=True, msg=say
        )


def damage_weights(collectives: Collectives, text: Path) -> tuple[list[str], bool, str]:
    """Returns what an update with a bad weight says, if weights changed, and what a check says."""
    run = build(collectives, text, {"distributed": {"strategy": "fsdp"}})
    trainer = run.trainer
    trainer.check_agreement()
    if collectives.rank == 0:
        local_part(trainer.model.decoder.layers[0].fc2.bias).fill_(torch.nan)
    before = {name: p.detach().clone() for name, p in trainer.optimizer.parameters.items()}
    step = next(trainer.train_epoch(run.iterator))
    assert not step.applied
    parts = trainer.optimizer.parameters
    unchanged = all(torch.equal(before[n].nan_to_num(), p.nan_to_num()) for n, p in parts.items())
    shared = build(collectives, text, {"distributed": {"tensor_parallel": 2}}).trainer
    shared.check_agreement()
    if collectives.rank == 1:
        local_part(shared.model.decoder.layer_norm.weight)[0] += 1.0
    try:
        shared.check_agreement()
    except DistributedError as error:
        return step.faults, unchanged, str(error)
    return step.faults, unchanged, ""


def test_bad_weights_are_found_and_named_though_they_lie_in_parts(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    for faults, unchanged, said in run_in_processes(damage_weights, 2, text, timeout_seconds=300.0):
        assert unchanged
        assert "first in the output of model.decoder.layers.0.fc2" in faults[0]
        assert "parameter model.decoder.layer_norm.weight is not the same on all ranks" in said


def save_drifted_copies(collectives: Collectives, text: Path, folder: Path) -> tuple[str, bool]:
    """Returns what a save says after a copy of a moment has drifted, and if it wrote anything."""
    settings = {"strategy": "fsdp", "tensor_parallel": 2}
    run = build(collectives, text, {"distributed": settings, "ema": {"kind": "ema"}})
    trainer = run.trainer
    next(trainer.train_epoch(run.iterator))
    trainer.check_agreement()
    trainer.save_checkpoint(folder / "good", {}, {})
    trainer.finish_save()
    (optimizer,) = trainer.optimizer.torch_optimizers
    moments = optimizer.state[trainer.optimizer.parameters["model.decoder.layer_norm.weight"]]
    if collectives.rank == 1:
        moments["exp_avg"][0] += 1.0
    with pytest.raises(DistributedError) as raised:
        trainer.save_checkpoint(folder / "bad", {}, {})
    with pytest.raises(DistributedError):
        trainer.check_agreement()
    return str(raised.value), (folder / "bad").exists()


def test_a_drifted_copy_of_a_part_is_found_by_the_save_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")
    found = run_in_processes(save_drifted_copies, 2, text, tmp_path, timeout_seconds=300.0)
    for said, is_written in found:
        assert "optimizer/slots/model.decoder.layer_norm.weight/exp_avg is not the same" in said
        assert "rank 1 has other bits (or the others have)" in said
        assert not is_written
    (path,) = (tmp_path / "good").iterdir()
    read_checkpoint(path)
