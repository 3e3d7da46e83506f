"""The page of seqtrain-info about the learning rates of a run, without training it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqtrain.errors import ConfigError
from seqtrain.lr_schedulers.base import LR_SCHEDULERS, LRScheduler
from seqtrain.lr_schedulers.grouped import build_schedule
from seqtrain.optim.base import OPTIMIZERS
from seqtrain.report.curve import Curves, check_plot, draw
from seqtrain_cli.command import Command
from seqtrain_cli.compose import compose_and_run

MOST_POINTS = 20_000
"""Updates that are drawn; of a longer run, as many at equal distances."""


def asks_for_curve(words: Sequence[str]) -> bool:
    """Says whether a command line is about the learning rates of a run."""
    keys = [word.partition("=")[0] for word in words if "=" in word]
    sections = ("lr_scheduler.", "optimizer.", "optimization.")
    return any(key == "plot" or key.startswith(sections) for key in keys)


def print_curve(words: Sequence[str]) -> None:
    """Prints the rates of the run that these words of seqtrain-train describe, and draws them.

    Args:
        words: Overrides as seqtrain-train takes them, and `plot=FILE`.

    Raises:
        ConfigError: They describe no run, or one without an end.
        MachineError: The drawing cannot be made here.
    """
    plots = [Path(word.partition("=")[2]) for word in words if word.startswith("plot=")]
    for path in plots:
        check_plot(path)

    def show(container: dict[str, Any]) -> None:
        scheduler, title = _schedule(container)
        curves = _curves(scheduler, title)
        for line in _lines(curves, scheduler):
            print(line)
        for path in plots:
            draw(curves, path)
            print(f"drawn in {path}")

    rest = [word for word in words if not word.startswith("plot=")]
    compose_and_run(Command("train", "", show), rest)


def _schedule(container: dict[str, Any]) -> tuple[LRScheduler, str]:
    """Returns the schedule of a composed run, and a title."""
    total = container["optimization"]["max_update"]
    if total < 1:
        raise ConfigError(
            "A curve needs an end: set optimization.max_update to the length of the run, in "
            f"updates; it is {total}."
        )
    config: Any = LR_SCHEDULERS.parse(container.get("lr_scheduler") or {})
    optimizer: Any = OPTIMIZERS.parse(container.get("optimizer") or {})
    title = f"lr_scheduler={config.name}, optimizer.lr={optimizer.lr:g}, {total} updates"
    return build_schedule(config, optimizer, total), title


def _curves(scheduler: LRScheduler, title: str) -> Curves:
    total = scheduler.total_updates
    stride = -(-total // MOST_POINTS)
    updates = sorted({*range(1, total + 1, stride), *_listed_updates(total)})
    rates: dict[str, list[float]] = {"lr_scheduler": []}
    for update in updates:
        rates["lr_scheduler"].append(scheduler.lr_at(update))
        for key, rate in scheduler.own_rates(update).items():
            rates.setdefault(f"optimizer.{key}", []).append(rate)
    if scheduler.follows_validation:
        title += "\nas if every validation made progress"
    return Curves(title=title, updates=updates, rates=rates)


def _lines(curves: Curves, scheduler: LRScheduler) -> Iterator[str]:
    yield curves.title.partition("\n")[0]
    if scheduler.follows_validation:
        yield (
            "note: what validation finds is not known here; the rates are those of a run in which "
            "every validation makes progress"
        )
    width = max(len(label) for label in curves.rates)
    yield "  ".join([f"{'update':>10}", *(f"{label:>{width}}" for label in curves.rates)])
    listed = set(_listed_updates(scheduler.total_updates))
    for index, update in enumerate(curves.updates):
        if update in listed:
            values = [f"{rates[index]:>{width}.6g}" for rates in curves.rates.values()]
            yield "  ".join([f"{update:>10}", *values])
    for label, rates in curves.rates.items():
        highest = max(rates)
        where = curves.updates[rates.index(highest)]
        yield f"highest {label}: {highest:.6g}, first at update {where}"


def _listed_updates(total: int) -> list[int]:
    """Returns the updates whose rates are printed: the first, the last, and tenths."""
    return sorted({1, *(max(1, total * tenth // 10) for tenth in range(1, 11))})
