"""What a run would be, told without writing anything: sizes, memory, one batch."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from seqtrain.distributed.blocks import local_part
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import MachineError
from seqtrain.tasks.base import Task
from seqtrain.training.build import Run
from seqtrain.training.run_config import RunConfig
from seqtrain.training.screens.first_screen import run_lines, screen
from seqtrain.training.screens.held_parts import Place
from seqtrain.training.screens.planned_end import planned_updates
from seqtrain.training.screens.predicted_memory import free_memory, predict_memory, size
from seqtrain.training.screens.time_text import duration
from seqtrain.training.train_loop import TrainResult

DONE = TrainResult(num_updates=0, best_metric=None, best_checkpoint=None, test={})


def dry_run(
    config: RunConfig,
    task: Task,
    device: torch.device,
    collectives: Collectives,
    build: Callable[[], Run],
) -> TrainResult:
    """Predicts the memory, builds everything, runs one batch and prints what would be trained.

    Args:
        config: The run.
        task: Its task, with data.
        device: Of this process.
        collectives: Of all processes; the first one prints.
        build: Builds the run, after its weights are known to fit.

    Raises:
        MachineError: The weights and what belongs to them do not fit into the memory.
    """

    def say(label: str, *lines: str) -> None:
        if collectives.rank == 0:
            for line in screen(label, *lines):
                print(line, flush=True)  # noqa: T201 # a dry run has no log

    place = Place(collectives.rank, collectives.world_size)
    predicted, free = predict_memory(config, task.context, place), free_memory(device)
    if predicted is None:
        say("memory", "not predicted: this model cannot be built without its values")
    else:
        each = f"first of {place.world_size} processes: " if place.world_size > 1 else ""
        memory = f"{each}{predicted.line()}, without what a batch needs; {size(free)} are free"
        say("memory", memory)
        is_too_much = 0 < free < predicted.total
        if collectives.any(is_too_much):  # so that no process waits for another
            raise MachineError(
                f"The run needs {size(predicted.total)} for its weights, gradients and copies of "
                f"them; {size(free)} are free on {device}. Choose a smaller model, "
                "precision.parameters=bf16, checkpoint.background=false, or spread it over "
                "processes with distributed.strategy."
            )
    run = build()
    for label, lines in run_lines(run):
        say(label, *lines)
    say("one batch", *_try_batch(run))
    say("dry run", "nothing was written")
    return DONE


def _try_batch(run: Run) -> list[str]:
    """Runs a micro-batch twice, to measure without what happens only once; returns what it took."""
    settings, trainer = run.trainer.settings, run.trainer
    group = next(iter(run.iterator.groups(settings.update_freq, settings.micro_batches)))
    with _kept_bytes(run) as kept:
        _, totals = trainer.compute_gradients(group.batches[:1])
    began = time.monotonic()
    trainer.compute_gradients(group.batches[:1])
    seconds = time.monotonic() - began
    targets, loss = int(totals[0]), float(totals[4] / totals[0].clamp(min=1.0))
    lines = [
        f"{targets} targets in {seconds:.2f} s, loss {loss:.4f} a target",
        f"{size(kept[0])} kept for its gradients; the process had up to {size(_peak(run))}",
    ]
    if planned := planned_updates(run):
        whole = duration(seconds * len(group.batches) * planned)
        lines.append(f"{planned} updates like it take about {whole}, without validation")
    return lines


@contextmanager
def _kept_bytes(run: Run) -> Iterator[list[int]]:
    """Counts what the forward pass keeps for the backward pass, parameters left out."""
    parts = [local_part(parameter) for parameter in run.trainer.model.parameters()]
    known = {part.untyped_storage().data_ptr() for part in parts}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    total = [0]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield total
    total[0] = sum(kept.values())


def _peak(run: Run) -> int:
    if run.trainer.device.type == "cuda":
        return torch.cuda.max_memory_allocated(run.trainer.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
