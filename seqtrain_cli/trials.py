"""The trials of a sweep: each leaves a record in its folder, and the end tells the best."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqtrain.errors import SeqtrainError
from seqtrain.files import record
from seqtrain.finite_json import finite_json
from seqtrain.training.screens.last_screen import setting

FILE_NAME = "trial.json"
MOST_SHOWN = 20
"""Trials in the table at the end, the best ones."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How one training of a sweep ended."""

    number: int
    options: list[str]
    """The overrides that the sweep chose for it."""
    metric: str = ""
    """checkpoint.best_metric."""
    maximize: bool = False
    value: float | None = None
    """Best value of the metric; None if nothing was validated."""
    error: str = ""
    """Why it failed."""
    exit_code: int = 0
    """Of a command that fails for this reason."""


class FailedTrialsError(SeqtrainError):
    """Trials of a sweep failed; the others have ended as they should."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        failed = [trial for trial in trials if trial.error]
        self.exit_code = failed[0].exit_code
        super().__init__(
            f"{len(failed)} of {len(trials)} trials failed; {_name(failed[0])}: {failed[0].error}"
        )


def run_trial(
    run: Callable[[dict[str, Any]], float | None],
    container: dict[str, Any],
    number: int,
    options: Sequence[str],
) -> float | None:
    """Runs a trial and records how it ended; a failure is told at once, and the sweep goes on.

    Returns:
        The value for the sweeper, None for a failure. Where several processes train together they
        would lose one another, so that there a failure is raised.
    """
    if container.get("dry_run"):  # which writes nothing
        return run(container)
    folder = Path(str(container["run_dir"]))
    checkpoint = container.get("checkpoint", {})
    trial = Trial(
        number=number,
        options=list(options),
        metric=str(checkpoint.get("best_metric", "")),
        maximize=bool(checkpoint.get("maximize_best_metric", False)),
    )
    if is_first_process():
        print(f"{_name(trial)} in {folder}", flush=True)
    try:
        value = run(container)
    except BrokenPipeError:  # nobody listens any more
        raise
    except Exception as error:
        is_fault = isinstance(error, SeqtrainError)
        reason = str(error) if is_fault else repr(error)
        _keep(folder, trial, error=reason, exit_code=getattr(error, "exit_code", 1))
        if is_first_process():
            if not is_fault or container.get("debug"):
                traceback.print_exc()
            print(f"{_name(trial)} failed: {reason}", file=sys.stderr, flush=True)
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise
        return None
    _keep(folder, trial, value=value)
    return value


def is_first_process() -> bool:
    """Says whether this process speaks for all of a distributed run."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def forget_trials(sweep: Path) -> None:
    """Removes the records of an earlier sweep in the same folder; its runs stay."""
    for path in sweep.glob(f"*/{FILE_NAME}"):
        path.unlink(missing_ok=True)


def read_trials(sweep: Path) -> list[Trial]:
    """Returns the trials of a sweep that have ended, by number."""
    found = []
    for path in sweep.glob(f"*/{FILE_NAME}"):
        try:
            found.append(Trial(**json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError):  # not a record of ours
            continue
    return sorted(found, key=lambda trial: trial.number)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Returns the trial with the best value; the first of several."""
    return next((trial for trial in ranked(trials) if trial.value is not None), None)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Returns trials, the best first, those without a value last."""

    def place(trial: Trial) -> tuple[bool, float]:
        if trial.value is None:
            return True, 0.0
        return False, -trial.value if trial.maximize else trial.value

    return sorted(trials, key=place)


def sweep_screen(sweep: Path, trials: Sequence[Trial]) -> list[str]:
    """Returns how a sweep ended: its trials, the best one, and how to see them."""
    num_failed = sum(bool(trial.error) for trial in trials)
    failed = f", {num_failed} failed" if num_failed else ""
    lines = [f"sweep of {len(trials)} trials in {sweep}{failed}"]
    shown = ranked(trials)[:MOST_SHOWN]
    for trial in shown:
        value = "failed" if trial.error else _value(trial)
        lines.append(f"  {trial.number:>4}  {value:>12}  {' '.join(trial.options)}")
    if len(trials) > len(shown):
        lines.append(f"  and {len(trials) - len(shown)} more")
    best = best_of(trials)
    if best is not None:
        folder = sweep / str(best.number)
        lines.append(
            f"best {best.metric} {_value(best)}: trial {best.number} in {folder}, with "
            f"{' '.join(best.options) or 'no options of its own'}"
        )
    if any(not trial.error for trial in trials):
        lines.append(f"see them: seqtrain-report {setting('runs', str(sweep))}")
    return lines


def _name(trial: Trial) -> str:
    options = " ".join(trial.options)
    return f"trial {trial.number} ({options})" if options else f"trial {trial.number}"


def _value(trial: Trial) -> str:
    return "no value" if trial.value is None else f"{trial.value:.6g}"


def _keep(folder: Path, trial: Trial, **ending: Any) -> None:
    if not is_first_process():
        return
    folder.mkdir(parents=True, exist_ok=True)
    record(folder / FILE_NAME, finite_json(asdict(trial) | ending))
