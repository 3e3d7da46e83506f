"""The lines that a run begins with."""

import torch
from torch import nn

from seqtrain.lr_schedulers.base import LRScheduler
from seqtrain.training.batch_statistics import batch_norm_note
from seqtrain.training.build import Run
from seqtrain.training.lr_scaling import lr_scaling_note
from seqtrain.training.screens.ends import endless_note
from seqtrain.training.screens.planned_end import planned_end
from seqtrain.training.screens.unread_settings import unread_settings_note
from seqtrain.training.train_loop import TrainLoop

LABEL_WIDTH = 11


def first_screen(loop: TrainLoop) -> list[str]:
    """Returns what is trained, on what, for how long, and where it goes."""
    lines = [*run_lines(loop.run), ("run folder", [str(loop.run.run_dir)])]
    return [line for label, told in lines for line in screen(label, *told)]


def run_lines(run: Run) -> list[tuple[str, list[str]]]:
    """Returns what is trained, on what and for how long, as labels with lines."""
    trainer, config = run.trainer, run.config
    ranks, idle = "", list[str]()
    if run.collectives.is_alone:
        idle = idle_strategy_note(config.distributed.words())
    else:
        count = f"{run.collectives.world_size} process{'es' * (run.collectives.world_size > 1)}"
        ranks = ", ".join(["", count, *config.distributed.words()])
    threads = torch.get_num_threads()
    device = f"{trainer.device}, {config.precision.dtype}, {threads} thread{'s'[: threads > 1]}"
    rate = f"{config.optimizer.name}, lr {config.optimizer.lr:g}, {config.lr_scheduler.name}"
    return [
        ("device", [device + ranks, *idle]),
        ("data", [*run.task.describe(), *unread_settings_note(run.task)]),
        ("batches", run.iterator.summary().lines()),
        ("model", [*parameter_lines(trainer.model), *batch_norm_note(trainer.model)]),
        ("optimizer", [
            rate,
            *lr_scaling_note(config, run.num_shares),
            *(groups if len(groups := trainer.optimizer.group_lines()) > 1 else []),
        ]),
        ("training", [
            planned_end(run),
            *endless_note(config),
            *warm_up_note(trainer.lr_scheduler),
        ]),
    ]  # fmt: skip


def screen(label: str, *lines: str) -> list[str]:
    """Returns lines with a label before the first one."""
    labels = [label, *[""] * len(lines)]
    return [f"{name:{LABEL_WIDTH}}{line}" for name, line in zip(labels, lines, strict=False)]


def idle_strategy_note(words: list[str]) -> list[str]:
    """Returns a line if a process that is alone was told how to divide its work."""
    if not words:
        return []
    return [
        f"note: {', '.join(words)}: not so in one process, which trains the plain model; "
        "distributed.num_processes=N starts several, distributed.in_one_process=true uses it in one"
    ]


def parameter_lines(model: nn.Module) -> list[str]:
    """Returns the number of parameters, shared ones counted once, in all and by module."""
    total = sum(parameter.numel() for parameter in model.parameters())
    parts, counted = [], set[nn.Parameter]()
    for name, child in model.named_children():
        own = set(child.parameters()) - counted
        counted |= own
        parts.append(f"{name} {sum(parameter.numel() for parameter in own):,}")
    return [f"{type(model).__name__}, {total:,} parameters ({', '.join(parts)})"]


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
