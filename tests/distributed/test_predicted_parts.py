from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_in_processes
from strategy_runs import Sections, build, merged, train
from torch import Tensor
from toy_run import write_toy_text

from seqtrain.distributed.blocks import local_part
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.strategy_config import StrategyConfig
from seqtrain.training.build import Run
from seqtrain.training.screens.held_parts import Place, held_shapes, part_shape
from seqtrain.training.screens.predicted_memory import predict_memory

UNEVEN: Sections = {
    # Of 21 and 12 rows, two processes get parts of 11 and 10, and of 6.
    "model": {"dim": 12, "ffn_dim": 21, "num_heads": 2, "dropout": 0.0},
    "optimization": {"max_epoch": 0},
    "ema": {"kind": "ema"},
}
LAYOUTS: dict[str, Sections] = {
    "ddp": {},
    "zero": {"distributed": {"shard_optimizer": True}},
    "fsdp": {"distributed": {"strategy": "fsdp"}},
    "tensor": {"distributed": {"tensor_parallel": 2}, "model": {"ffn_dim": 22}},
}


@dataclass(frozen=True)
class Held:
    """Bytes in a process: as they were predicted, or as they were measured."""

    weights: int
    gradients: int
    optimizer: int
    copies: int


def num_bytes(tensors: list[Tensor]) -> int:
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())


def staged_bytes(run: Run, folder: Path) -> int:
    """Returns what a checkpoint on its way has copied of the weights, average and moments."""
    run.trainer.save_checkpoint(folder, {}, {})
    run.trainer.finish_save()
    assert run.trainer.writer is not None
    buffers = run.trainer.writer._buffers
    return num_bytes([
        tensor
        for (part, _), tensor in buffers.items()
        if not part.startswith("rank-") and tensor.dim()  # not random numbers, nor counts
    ])  # fmt: skip


def measured(run: Run, folder: Path) -> Held:
    trainer = run.trainer
    train(run, 2)
    trainer.compute_gradients(next(iter(run.iterator.groups(1))).batches)
    modules = (trainer.model, trainer.criterion)
    parameters = {p: local_part(p) for module in modules for p in module.parameters()}
    buffers = [buffer for module in modules for buffer in module.buffers()]
    trained = list(trainer.optimizer.parameters.values())
    slots = [slot for o in trainer.optimizer.torch_optimizers for slot in o.state.values()]
    assert trainer.averaging is not None
    average = num_bytes(list(trainer.averaging._average.values()))
    return Held(
        weights=num_bytes([*parameters.values(), *buffers]),
        gradients=num_bytes([p.grad for p in trained if p.grad is not None]),
        optimizer=num_bytes([
            value
            for slot in slots
            for value in slot.values()
            if isinstance(value, Tensor) and value.dim()
        ]),
        copies=average + staged_bytes(run, folder),
    )  # fmt: skip


def predict_and_measure(collectives: Collectives, text: Path) -> dict[str, tuple[Held, Held]]:
    found = {}
    for name, sections in LAYOUTS.items():
        run = build(collectives, text, merged(UNEVEN, sections))
        place = Place(collectives.rank, collectives.world_size)
        predicted = predict_memory(run.config, run.task.context, place)
        assert predicted is not None
        assert predicted.is_optimizer_known
        expected = Held(
            predicted.weights, predicted.gradients, predicted.optimizer, predicted.copies
        )
        found[name] = (expected, measured(run, text.parent / name))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[Held, Held]]]:
    """What was predicted and measured under each layout, by rank."""
    text = write_toy_text(tmp_path_factory.mktemp("predicted") / "text")
    return run_in_processes(predict_and_measure, 2, text, timeout_seconds=300.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_memory_of_each_process_is_predicted_to_the_byte(
    found: list[dict[str, tuple[Held, Held]]], layout: str
) -> None:
    for rank, by_layout in enumerate(found):
        predicted, held = by_layout[layout]
        if rank > 0:
            assert held.copies <= predicted.copies  # no process writes more than the first
            held = replace(held, copies=predicted.copies)
        assert predicted == held


def test_each_strategy_divides_what_it_says(found: list[dict[str, tuple[Held, Held]]]) -> None:
    def sums(layout: str) -> dict[str, int]:
        return {
            name: sum(getattr(by_layout[layout][0], name) for by_layout in found)
            for name in ("gradients", "optimizer")
        }

    whole = found[0]["ddp"][0]
    assert sums("ddp") == {"gradients": 2 * whole.gradients, "optimizer": 2 * whole.optimizer}
    assert sums("zero") == {"gradients": 2 * whole.gradients, "optimizer": whole.optimizer}
    assert sums("fsdp") == {"gradients": whole.gradients, "optimizer": whole.optimizer}


@pytest.mark.parametrize(
    ("size", "count"), [(10, 1), (10, 2), (10, 3), (3, 4), (5, 4), (1, 2), (16, 4)]
)
def test_parts_are_those_of_torch_chunk(size: int, count: int) -> None:
    chunks = [tuple(chunk.shape) for chunk in torch.zeros(size, 2).chunk(count)]
    parts: list[Any] = [part_shape((size, 2), 0, index, count) for index in range(count)]
    assert parts == chunks + [(0, 2)] * (count - len(chunks))


def test_layers_that_groups_share_are_divided_again_among_the_groups(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    sizes: Sections = {"model": {"dim": 12, "ffn_dim": 20, "dropout": 0.0}}
    trainer = build(Collectives(), text, sizes).trainer
    settings = StrategyConfig(strategy="fsdp", tensor_parallel=2)
    layer = trainer.model.encoder.layers[0]
    for rank in range(4):
        shapes = held_shapes(trainer.model, trainer.criterion, settings, Place(rank, world_size=4))
        assert shapes[layer.fc1.weight] == (5, 12)  # of 20 rows, half of a half
        assert shapes[layer.fc2.weight] == (6, 10)  # of 20 columns, half; of 12 rows, half
        assert shapes[layer.fc2.bias] == (6,)
