"""One training session: the run directory, the first weights, the loop, the last screen."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seqtrain.checkpoint.load import applying, read_named
from seqtrain.checkpoint.spread_state import load_state
from seqtrain.checkpoint.weights import WEIGHT_PARTS, usable_weights
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedContext
from seqtrain.distributed.heartbeat import Watchdog, open_board
from seqtrain.errors import ConfigError
from seqtrain.files import record
from seqtrain.finite_json import finite_json
from seqtrain.optim.precision import choose_cpu_products, keep_few_products
from seqtrain.training.agreement import require_same_data, require_same_settings
from seqtrain.training.answers.saved_run import read_run
from seqtrain.training.build import Run, build_run, build_task, choose_device
from seqtrain.training.freed_memory import keep_freed_memory
from seqtrain.training.init_from import init_from, symbol_rows
from seqtrain.training.run_config import RunConfig
from seqtrain.training.run_folder import held_run_folder, record_config
from seqtrain.training.screens.dry_run import dry_run
from seqtrain.training.screens.first_screen import first_screen
from seqtrain.training.screens.last_screen import last_screen
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
    keep_few_products()
    choose_cpu_products(config.precision)
    if device.type == "cpu":
        keep_freed_memory()
    with context.connected(config.distributed, device) as collectives:
        # A function of its own, so that nothing of the run is left when the connection ends.
        return _train_connected(config, about, device, collectives)


def _train_connected(
    config: RunConfig, about: Mapping[str, Any], device: torch.device, collectives: Collectives
) -> TrainResult:
    require_same_settings(config, about, collectives)
    if config.dry_run:
        task = build_task(config)
        build = partial(build_run, config, collectives, device, task=task)
        return dry_run(config, task, device, collectives, build)
    run: Run | None = None

    def num_updates() -> int:
        return 0 if run is None else run.trainer.num_updates

    with held_run_folder(Path(config.run_dir), collectives, num_updates):
        timeout = config.distributed.timeout_seconds
        board = open_board(timeout)
        watchdog = Watchdog(collectives.rank, collectives.world_size, timeout, board)
        run = build_run(config, collectives, device, watchdog)
        require_same_data(config, run.task, collectives)
        with watchdog.watching():
            result = TrainLoop(run, about, lambda: _init_from(run)).train(_announce)
        if collectives.rank == 0:
            _finish(config, result)
        return result


def _announce(loop: TrainLoop) -> list[str]:
    """Records the config, now that it is known to fit the run folder, if anything is trained."""
    if loop.run.collectives.rank == 0 and not loop.passed_limits():
        config = loop.config.to_container()
        record_config(loop.run.run_dir, config, loop.trainer.num_updates)
    return first_screen(loop)


def _init_from(run: Run) -> list[str]:
    """Takes the weights of another run, if the config says so."""
    settings = run.config.checkpoint
    if not settings.init_from:
        return []
    names = ("task", "config", *WEIGHT_PARTS)
    other = read_named(Path(settings.init_from), "checkpoint.init_from", names)
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

    with applying(other.path), run.trainer.whole_weights() as whole:
        weights = usable_weights(other.parts).model
        report = init_from(whole.model, weights, settings.init_prefixes, rows)
        if run.trainer.spread is not None:
            load_state(run.trainer.model, whole.model.state_dict())
    return report.lines()


def _finish(config: RunConfig, result: TrainResult) -> None:
    run_dir = Path(config.run_dir)
    if result.test:
        values = {f"test_{name}": value for name, value in result.test.items()}
        text = finite_json(values | {"num_updates": result.num_updates}, indent=2)
        record(run_dir / "test_metrics.json", text)
    for line in last_screen(run_dir, result, config):
        print(line, flush=True)  # noqa: T201 # the last screen comes after the log is closed
