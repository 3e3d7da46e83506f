"""The lines that a run begins and ends with."""

from pathlib import Path

import torch
from torch import nn

from seqtrain.lr_schedulers.base import LRScheduler
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.batch_statistics import batch_norm_note
from seqtrain.training.build import Run
from seqtrain.training.lr_scaling import lr_scaling_note
from seqtrain.training.run_config import RunConfig
from seqtrain.training.train_loop import TrainLoop, TrainResult


def first_screen(loop: TrainLoop) -> list[str]:
    """Returns what is trained, on what, for how long, and where it goes."""
    run, config = loop.run, loop.config
    trainer = run.trainer
    ranks = f", {run.collectives.world_size} processes" if run.collectives.world_size > 1 else ""
    return [
        f"device {trainer.device}, {config.precision.dtype}, "
        f"{torch.get_num_threads()} threads{ranks}",
        *run.task.describe(),
        *run.iterator.summary().lines(),
        *parameter_lines(trainer.model),
        *batch_norm_note(trainer.model),
        *trainer.optimizer.group_lines(),
        f"optimizer {config.optimizer.name} lr {config.optimizer.lr:g}, "
        f"schedule {config.lr_scheduler.name}, {planned_end(run)}",
        *lr_scaling_note(config, run.collectives.world_size),
        *warm_up_note(trainer.lr_scheduler),
        f"run folder {run.run_dir}",
    ]


def parameter_lines(model: nn.Module) -> list[str]:
    """Returns the number of parameters, shared ones counted once, in all and by module."""
    total = sum(parameter.numel() for parameter in model.parameters())
    parts, counted = [], set[nn.Parameter]()
    for name, child in model.named_children():
        own = set(child.parameters()) - counted
        counted |= own
        parts.append(f"{name} {sum(parameter.numel() for parameter in own):,}")
    return [f"model {type(model).__name__}, {total:,} parameters ({', '.join(parts)})"]


def warm_up_note(scheduler: LRScheduler) -> list[str]:
    """Returns a line if the run ends before its rate has stopped rising."""
    last = scheduler.total_updates
    if last < 2 or scheduler.state_dict():  # one with a state cannot be asked about the future
        return []
    if scheduler.lr_at(last) <= scheduler.lr_at(last - 1):
        return []
    return [
        f"note: the learning rate still rises at the last update, {last}, and is "
        f"{scheduler.lr_at(last):.3g} there: the warm-up is longer than the run"
    ]


def planned_end(run: Run) -> str:
    """Returns when the run will end."""
    limits = run.config.optimization
    batches = run.iterator.num_batches()
    per_epoch = -(-batches // (limits.update_freq * run.collectives.world_size))
    ends = [
        f"{limits.max_update} updates" if limits.max_update else "",
        f"{limits.max_epoch} epochs" if limits.max_epoch else "",
        f"{limits.stop_time_hours:g} hours" if limits.stop_time_hours else "",
    ]
    limit = " or ".join(end for end in ends if end) or "interrupted (no limit is set)"
    return f"{per_epoch} updates an epoch, until {limit}"


def last_screen(run_dir: Path, result: TrainResult, config: RunConfig) -> list[str]:
    """Returns how the run ended, and the commands to go on with."""
    best_metric = config.checkpoint.best_metric
    if result.signal:
        return [
            f"stopped by a signal after update {result.num_updates}; everything is saved. "
            "The same command continues."
        ]
    lines = [f"finished after {result.num_updates} updates"]
    if result.best_checkpoint is not None and result.best_metric is not None:
        lines.append(f"best {best_metric} {result.best_metric:.4f} in {result.best_checkpoint}")
    if result.test:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in result.test.items())
        lines.append(f"test: {scores} (in {run_dir / 'test_metrics.json'})")
    return [
        *lines,
        "go on with:",
        f"  seqtrain-evaluate checkpoint={run_dir} split={'test' if result.test else 'valid'}",
        *_use(run_dir, config),
        f"  seqtrain-info checkpoint={run_dir}",
    ]


def _use(run_dir: Path, config: RunConfig) -> list[str]:
    """Returns the command that uses the model on new input, where there is one."""
    cls: type[Task] = TASKS.get(config.task.name).cls
    if cls.inference_dataset is not Task.inference_dataset:
        return [f"  seqtrain-generate checkpoint={run_dir} input=-"]
    if cls.predict is not Task.predict:
        return [f"  seqtrain-generate checkpoint={run_dir} split=valid"]
    return []
