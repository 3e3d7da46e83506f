"""One training session: the run directory, the first weights, the loop, the last screen."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seqtrain.checkpoint.load import applying, read_checkpoint, resolve
from seqtrain.checkpoint.retention import clean_leftovers
from seqtrain.checkpoint.weights import WEIGHT_PARTS, usable_weights
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedContext
from seqtrain.distributed.heartbeat import Watchdog, open_board
from seqtrain.errors import ConfigError
from seqtrain.files import RunLock, ensure_writable_directory, record
from seqtrain.finite_json import finite_json
from seqtrain.optim.precision import choose_cpu_products
from seqtrain.training.build import Run, build_run, choose_device
from seqtrain.training.first_screen import first_screen, last_screen, parameter_lines
from seqtrain.training.init_from import init_from, symbol_rows
from seqtrain.training.run_config import RunConfig
from seqtrain.training.saved_run import read_run
from seqtrain.training.train_loop import TrainLoop, TrainResult


def train_run(config: RunConfig, about: Mapping[str, Any]) -> TrainResult:
    """Trains a run to its end in this process, together with the others of a distributed run.

    Args:
        config: The run.
        about: Plain values for the manifests of checkpoints.
    """
    context = DistributedContext.from_environment()
    if config.distributed.num_processes > 1 and context.world_size == 1:
        raise ConfigError(
            "distributed.num_processes starts processes of the command seqtrain-train; from "
            "Python, run the script under torchrun instead."
        )
    device = choose_device(config.device, context.local_rank)
    choose_cpu_products(config.precision)
    with context.connected(config.distributed, device) as collectives:
        # A function of its own, so that nothing of the run is left when the connection ends.
        return _train_connected(config, about, device, collectives)


def _train_connected(
    config: RunConfig, about: Mapping[str, Any], device: torch.device, collectives: Collectives
) -> TrainResult:
    collectives.require_equal(_comparable(config), "the configuration")
    if config.dry_run:
        return _dry_run(build_run(config, collectives, device))
    with _run_directory(config, collectives):
        timeout = config.distributed.timeout_seconds
        board = open_board(timeout)
        watchdog = Watchdog(collectives.rank, collectives.world_size, timeout, board)
        run = build_run(config, collectives, device, watchdog)
        with watchdog.watching():
            result = TrainLoop(run, about, lambda: _init_from(run)).train(_announce)
        if collectives.rank == 0:
            _finish(config, result)
        return result


def _announce(loop: TrainLoop) -> list[str]:
    """Records the config, now that it is known to fit the run directory."""
    if loop.run.collectives.rank == 0:
        text = json.dumps(loop.config.to_container(), indent=2)
        record(loop.run.run_dir / "config.json", text)
    return first_screen(loop)


def _comparable(config: RunConfig) -> dict[str, Any]:
    container = config.to_container()
    container.pop("device")
    return container


@contextmanager
def _run_directory(config: RunConfig, collectives: Collectives) -> Iterator[None]:
    """Holds the run directory: the first rank has the lock and tidies up."""
    run_dir = Path(config.run_dir)
    if collectives.rank != 0:
        collectives.barrier()
        yield
        return
    ensure_writable_directory(run_dir)
    with RunLock(run_dir):
        checkpoints = run_dir / "checkpoints"
        ensure_writable_directory(checkpoints)
        clean_leftovers(checkpoints)
        collectives.barrier()
        yield


def _init_from(run: Run) -> list[str]:
    """Takes the weights of another run, if the config says so."""
    settings = run.config.checkpoint
    if not settings.init_from:
        return []
    names = ("task", "config", *WEIGHT_PARTS)
    other = read_checkpoint(resolve(Path(settings.init_from)), names=names)
    _, task = read_run(other)
    old, new = task.vocabularies(), run.task.vocabularies()
    sides = run.trainer.model.vocabulary_rows()

    def rows(name: str, old_rows: int, new_rows: int) -> torch.Tensor | None:
        side = sides.get(name, "")
        if side not in old or side not in new:
            return None
        if len(old[side]) != old_rows or len(new[side]) != new_rows or old[side] == new[side]:
            return None
        return symbol_rows(old[side], new[side])

    with applying(other.path):
        weights = usable_weights(other.parts).model
        report = init_from(run.trainer.model, weights, settings.init_prefixes, rows)
    return report.lines()


def _dry_run(run: Run) -> TrainResult:
    """Runs one batch forwards and backwards and says what would be trained; writes nothing."""
    group = next(iter(run.iterator.groups(run.config.optimization.update_freq)))
    _, totals = run.trainer.compute_gradients(group.batches)
    num_bytes = sum(p.numel() * p.element_size() for p in run.trainer.model.parameters())
    for line in [
        *run.task.describe(),
        *run.iterator.summary().lines(),
        *parameter_lines(run.trainer.model),
        f"memory for parameters, gradients and two moments about {4 * num_bytes / 2**20:.0f} MiB",
        f"one update: {int(totals[0])} targets, loss {float(totals[4] / totals[0]):.4f} a target",
        "dry run: nothing was written",
    ]:
        print(line)  # noqa: T201 # a dry run has no log
    return TrainResult(num_updates=0, best_metric=None, best_checkpoint=None, test={})


def _finish(config: RunConfig, result: TrainResult) -> None:
    run_dir = Path(config.run_dir)
    if result.test:
        values = {f"test_{name}": value for name, value in result.test.items()}
        text = finite_json(values | {"num_updates": result.num_updates}, indent=2)
        record(run_dir / "test_metrics.json", text)
    for line in last_screen(run_dir, result, config):
        print(line, flush=True)  # noqa: T201 # the last screen comes after the log is closed
