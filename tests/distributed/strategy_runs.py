"""A small real run, built in this process and trained for some updates, for tests of strategies."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toy_run import toy_config

from seqtrain.distributed.collectives import Collectives
from seqtrain.optim.precision import choose_cpu_products
from seqtrain.plugins import import_built_ins
from seqtrain.training.build import Run, build_run, choose_device
from seqtrain.training.run_config import RunConfig

Sections = dict[str, dict[str, Any]]

WITH_EVERYTHING: Sections = {
    "model": {"dim": 32, "ffn_dim": 64, "dropout": 0.2, "share_embeddings": "decoder"},
    "optimization": {"max_epoch": 0, "clip_norm": 0.3},
    "ema": {"kind": "ema", "decay": 0.9},
}
"""Dropout, clipping that bites, an average of the weights, tied embeddings.

Half of each parameter is a multiple of 16 values: kernels of optimizers round what is left over
from whole vectors in another way.
"""


@dataclass
class Trained:
    """What came of some updates, as bytes and plain values."""

    norms: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    weights: dict[str, bytes] = field(default_factory=dict)
    average: dict[str, bytes] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    """Names of all that the losses went through."""


def merged(*many: Sections) -> Sections:
    """Returns sections with the values of all; later ones win."""
    result: Sections = {}
    for sections in many:
        for name, values in sections.items():
            result[name] = result.get(name, {}) | values
    return result


def build(collectives: Collectives, text: Path, sections: Sections, device: str = "cpu") -> Run:
    """Builds the run of the config, in this process."""
    import_built_ins()
    config = RunConfig.parse(toy_config(text, text.parent / "run", **sections))
    choose_cpu_products(config.precision)
    return build_run(config, collectives, choose_device(device))


def train(run: Run, num_updates: int) -> Trained:
    """Trains until the run has seen so many updates."""
    trainer, result = run.trainer, Trained()
    trainer.hooks.loss_computed = lambda loss: result.functions.update(_functions(loss.total))
    while trainer.num_updates < num_updates:
        for step in trainer.train_epoch(run.iterator):
            assert step.applied
            result.norms.append(step.grad_norm)
            result.losses.append(step.metrics.compute()["loss"])
            if trainer.num_updates == num_updates:
                break
    with trainer.whole_weights() as whole:
        result.weights = as_bytes(whole)
    if trainer.averaging is not None:
        with trainer.evaluation_weights():
            result.average = as_bytes(trainer.evaluated)
    return result


def train_each(
    collectives: Collectives, text: Path, num_updates: int, variants: list[Sections]
) -> list[Trained]:
    """Trains runs one after another; in one process with the micro-batches of two."""
    alone = {"optimization": {"update_freq": 2}} if collectives.world_size == 1 else {}
    return [
        train(build(collectives, text, merged(WITH_EVERYTHING, alone, sections)), num_updates)
        for sections in variants
    ]


def _functions(loss: Tensor) -> set[str]:
    found, waiting = set(), [loss.grad_fn]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        found.add(type(node).__name__)
        following = {before for before, _ in node.next_functions if before is not None} - seen
        seen |= following
        waiting += following
    return found


def as_bytes(module: torch.nn.Module) -> dict[str, bytes]:
    """Returns a module's state as bytes."""
    state = module.state_dict()
    return {name: value.detach().cpu().numpy().tobytes() for name, value in state.items()}
