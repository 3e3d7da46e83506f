"""A sweep as a whole: faults of its trials are told before the first one, the best at the end."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, ValueType
from omegaconf import DictConfig, OmegaConf

from seqtrain.errors import ConfigError, SeqtrainError
from seqtrain_cli.arguments import Arguments, parse_override
from seqtrain_cli.command import Command
from seqtrain_cli.trials import (
    FailedTrialsError,
    forget_trials,
    is_first_process,
    read_trials,
    sweep_screen,
)

MULTIRUN = ("-m", "--multirun")
MOST = 40
"""Trials of a grid that are all checked before the first one begins; of a larger one so many single
choices are, beginning with the keys that have few: names come before ranges of numbers."""

Values = Callable[[Sequence[str]], dict[str, Any]]
"""Composes a command with some overrides, into plain values."""


def is_sweep(arguments: Arguments) -> bool:
    """Says whether the command runs once for each of several settings."""
    options = set(arguments.options)
    is_asked = options & {"-c", "--cfg", "-i", "--info", "--hydra-help", "-r", "--run"}
    mode = str(arguments.value_of("hydra.mode")).upper()
    return bool(options & set(MULTIRUN) or mode == "MULTIRUN") and not is_asked


def swept_keys(arguments: Arguments, hydra: DictConfig) -> set[str]:
    """Returns the keys that a sweeper chooses values for."""
    keys = {parsed.key_or_group for parsed in arguments.parsed() if parsed.is_sweep_override()}
    return keys | {str(key) for key in _parameters(hydra)}


def options_of_trial(task_overrides: Sequence[str], keys: set[str]) -> list[str]:
    """Returns those of a trial's overrides that the sweeper chose."""
    return [text for text in task_overrides if text.lstrip("+").partition("=")[0] in keys]


@contextmanager
def told_sweep(
    command: Command, arguments: Arguments, hydra: DictConfig, values: Values
) -> Iterator[None]:
    """Checks the trials of a sweep before it begins, and prints how it ended.

    Args:
        command: What each trial runs; its `check` raises where settings cannot work.
        arguments: Of the command line.
        hydra: Hydra's own section of the configuration.
        values: Composes the command.

    Raises:
        ConfigError: A trial cannot work, or the sweeper looks for the worst.
        FailedTrialsError: Trials have failed.
    """
    first: dict[str, Any] = {}
    for name, overrides in trials_of(arguments, hydra):
        container = values(overrides)
        if not first:
            first = container
            _require_same_direction(first, hydra)
        _check(command, container, name, overrides, arguments)
    if first.get("dry_run"):
        yield
        return
    sweep = Path(str(first.get("run_dir", ".")))
    if is_first_process():
        forget_trials(sweep)
    try:
        yield
    except Exception as error:
        _tell(sweep)
        if not isinstance(error, SeqtrainError):  # a sweeper that got no value at all
            _raise_failures(sweep)
        raise
    _tell(sweep)
    _raise_failures(sweep)


def trials_of(arguments: Arguments, hydra: DictConfig) -> Iterator[tuple[str, list[str]]]:
    """Yields the name and the overrides of each trial; of a search one choice after the other."""
    parameters = [f"{key}={value}" for key, value in _parameters(hydra).items()]
    overrides = {p.key_or_group: p for p in map(parse_override, parameters)}
    overrides |= {p.key_or_group: p for p in arguments.parsed() if not _is_glob(p)}
    is_grid = str(hydra.get("sweeper", {}).get("_target_", "")).endswith("BasicSweeper")
    choices = [_choices(parsed) for parsed in overrides.values()]
    if is_grid and math.prod(len(found) for found in choices) <= MOST:
        for number, chosen in enumerate(itertools.product(*choices)):
            yield f"trial {number}", list(chosen)
        return
    plain = [found[0] for found in choices]
    yield "a trial", plain
    others = [(len(found), place, c) for place, found in enumerate(choices) for c in found[1:]]
    for _, place, choice in sorted(others, key=lambda other: other[0])[:MOST]:
        yield "a trial", [*plain[:place], choice, *plain[place + 1 :]]


def _is_glob(parsed: Override) -> bool:
    """Says whether Hydra has to look for the choices among its files."""
    return parsed.value_type == ValueType.GLOB_CHOICE_SWEEP


def _choices(parsed: Override) -> list[str]:
    """Returns an override as it is, or for each choice of a sweep; of an interval its ends."""
    if not parsed.is_sweep_override():
        return [parsed.input_line or ""]
    key = parsed.get_key_element()
    if parsed.is_interval_sweep():
        interval: Any = parsed.value()
        return [f"{key}={interval.start}", f"{key}={interval.end}"]
    return [f"{key}={choice}" for choice in parsed.sweep_string_iterator()]


def _parameters(hydra: DictConfig) -> dict[str, Any]:
    """Returns what a configuration, rather than the command line, lets a sweeper choose."""
    found = OmegaConf.to_container(hydra, resolve=False).get("sweeper") or {}  # type: ignore[union-attr] # a mapping
    parameters = found.get("params") or {}
    return dict(parameters) if isinstance(parameters, dict) else {}


def _check(
    command: Command,
    container: dict[str, Any],
    name: str,
    overrides: Sequence[str],
    arguments: Arguments,
) -> None:
    if command.check is None:
        return
    try:
        command.check(container)
    except ConfigError as error:
        own = " ".join(text for text in overrides if text not in arguments.overrides)
        raise ConfigError(f"{name} ({own}) cannot work, so none was begun: {error}") from error


def _require_same_direction(first: dict[str, Any], hydra: DictConfig) -> None:
    direction = hydra.get("sweeper", {}).get("direction")
    is_maximized = bool(first.get("checkpoint", {}).get("maximize_best_metric", False))
    wanted = "maximize" if is_maximized else "minimize"
    name = str(getattr(direction, "name", direction)).lower()
    if name in ("minimize", "maximize") and name != wanted:
        raise ConfigError(
            f"hydra.sweeper.direction={name} and checkpoint.maximize_best_metric="
            f"{str(is_maximized).lower()} contradict each other: set both for what "
            f"checkpoint.best_metric={first.get('checkpoint', {}).get('best_metric')} is."
        )


def _raise_failures(sweep: Path) -> None:
    trials = read_trials(sweep)
    if any(trial.error for trial in trials):
        raise FailedTrialsError(trials)


def _tell(sweep: Path) -> None:
    if is_first_process() and (trials := read_trials(sweep)):
        print(*sweep_screen(sweep, trials), sep="\n", flush=True)
