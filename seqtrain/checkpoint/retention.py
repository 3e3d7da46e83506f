"""Which checkpoints stay, which one is the best, and what a crash left behind."""

import math
import os
from contextlib import suppress
from pathlib import Path

from seqtrain.checkpoint.layout import committed, is_leftover, trash_name, updates_of
from seqtrain.checkpoint.load import inspect
from seqtrain.checkpoint.ranking import Ranking, read_ranking, write_ranking
from seqtrain.errors import CheckpointError
from seqtrain.files import remove_tree, sync_directory
from seqtrain.option_checks import require_range


def record_score(directory: Path, name: str, metric: str, value: float, maximize: bool) -> bool:
    """Takes a checkpoint into the ranking of `best.json`; for one process, under the run's lock.

    A score for another metric than before begins a new ranking. Scores of later checkpoints
    than this are dropped: the run has gone back behind them.

    Args:
        directory: Folder of checkpoints.
        name: The checkpoint, committed.
        metric: What was measured.
        value: Its score. One that is not finite is not recorded.
        maximize: Whether a larger score is better.

    Returns:
        Whether it is the best now. Of two equal scores the older checkpoint is better.

    Raises:
        CheckpointError: There is no such checkpoint, or `best.json` cannot be read or written.
    """
    if updates_of(name) is None or not os.path.lexists(directory / name):
        raise CheckpointError(f"{directory / name} cannot be ranked: it is not a checkpoint.")
    if not math.isfinite(value):
        return False
    before = _ranking(directory)
    if before is None or (before.metric, before.maximize) != (metric, maximize):
        before = Ranking(metric, maximize)
    older = {
        other: score
        for other, score in before.scores.items()
        if other < name and os.path.lexists(directory / other)
    }
    after = Ranking(metric, maximize, older).with_score(name, value)
    if after != before or list(after.scores) != list(before.scores):
        write_ranking(directory, after)
    return after.best == name


def best_checkpoint(directory: Path) -> Path | None:
    """Returns the checkpoint with the best score; None if none was scored, or it is gone.

    Raises:
        CheckpointError: `best.json` cannot be read.
    """
    ranking = _ranking(directory)
    if ranking is None or not os.path.lexists(directory / ranking.best):
        return None
    return directory / ranking.best


def apply_retention(
    directory: Path, keep_last: int, keep_best: int, keep_every: int = 0
) -> list[str]:
    """Deletes checkpoints that need not be kept; for one process, under the run's lock.

    Only whole checkpoints count and are deleted: a damaged one neither displaces a good one nor
    goes away. The newest and the best one always stay.

    Args:
        directory: Folder of checkpoints.
        keep_last: How many of the newest to keep, the best ones not counted; at least 2.
        keep_best: How many of the best to keep; at least one is kept if any was scored.
        keep_every: Keeps those whose update count is a multiple of it; 0 for none.

    Returns:
        Names of the deleted ones, newest first.

    Raises:
        ConfigError: A number is too small.
        CheckpointError: The directory or `best.json` cannot be read.
    """
    _check_counts(keep_last, keep_best, keep_every)
    ranking = _ranking(directory)
    # Asked once: an error in passing must not make the best one first damaged, then deletable.
    whole = {path.name: path for path in committed(directory) if _is_whole(path)}
    ranked = [name for name in ranking.scores if name in whole] if ranking else []
    best = set(ranked[: max(keep_best, 1)])
    others = [path for name, path in whole.items() if name not in best]
    removed = [path for path in others[keep_last:] if not _is_multiple(path.name, keep_every)]
    for path in removed:
        _remove(path)
    return [path.name for path in removed]


def clean_leftovers(directory: Path) -> list[str]:
    """Removes what crashes left in a folder of checkpoints; only at a start, under the run's lock.

    Only names that this package gives to unfinished and to deleted checkpoints are touched.

    Returns:
        Names of what was removed.
    """
    try:
        leftovers = sorted(path for path in directory.iterdir() if is_leftover(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"Cannot list {directory}: {error.strerror}.") from error
    removed = []
    for path in leftovers:
        with suppress(OSError):  # it does no harm but take up space; the next start tries again
            remove_tree(path)
            removed.append(path.name)
    return removed


def _ranking(directory: Path) -> Ranking | None:
    try:
        return read_ranking(directory)
    except FileNotFoundError:
        return None


def _check_counts(keep_last: int, keep_best: int, keep_every: int) -> None:
    for key, value, least in (
        ("keep_last", keep_last, 2),
        ("keep_best", keep_best, 0),
        ("keep_every", keep_every, 0),
    ):
        require_range(f"checkpoint.{key}", value, least=least)


def _is_whole(path: Path) -> bool:
    try:
        inspect(path)
    except CheckpointError:
        return False
    return True


def _is_multiple(name: str, interval: int) -> bool:
    updates = updates_of(name)
    return interval > 0 and updates is not None and updates % interval == 0


def _remove(path: Path) -> None:
    """Takes the name away first, so that no crash leaves a checkpoint without some of its files."""
    trash = path.with_name(trash_name(path.name))
    try:
        path.rename(trash)
        sync_directory(path.parent)
    except OSError as error:
        raise CheckpointError(f"Cannot delete {path}: {error.strerror}.") from error
    with suppress(OSError):  # the next start removes it
        remove_tree(trash)
