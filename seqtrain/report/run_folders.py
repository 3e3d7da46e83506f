"""Which run folders a path means: a run, or a folder with runs in it, as a sweep has."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

METRICS = "metrics.jsonl"
MOST_RUNS = 40
"""Of one folder; more lines in a chart could not be told apart."""


def run_folders(paths: Sequence[Path]) -> list[Path]:
    """Returns the run folders; a folder of runs stands for those in it, in the order of names.

    Links are not followed. A path that is neither stays, for the reader to tell.
    """
    return [folder for path in paths for folder in (_inner(path)[:MOST_RUNS] or [path])]


def left_out(paths: Sequence[Path]) -> list[str]:
    """Returns lines on folders that have more runs than are shown."""
    counts = [(path, len(_inner(path))) for path in paths]
    return [
        f"{path} has {count} runs, of which the first {MOST_RUNS} are shown: name others in runs="
        for path, count in counts
        if count > MOST_RUNS
    ]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Returns as many last parts of each path as tell them apart; of a trial's at least two."""
    least = 2 if any(path.name.isdigit() for path in paths) else 1
    for length in range(least, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name} ({index})" for index, path in enumerate(paths, start=1)]


def _inner(path: Path) -> list[Path]:
    if os.path.lexists(path / METRICS) or not path.is_dir():
        return []
    try:
        found = [Path(entry.path) for entry in os.scandir(path) if _is_run(entry)]
    except OSError:
        return []
    return sorted(found, key=_by_number)


def _is_run(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    try:
        return stat.S_ISREG(os.lstat(os.path.join(entry.path, METRICS)).st_mode)  # noqa: PTH118
    except OSError:
        return False


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Orders trial 2 before trial 10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part[:18]), "") if part.isdecimal() else (-1, part) for part in parts]
