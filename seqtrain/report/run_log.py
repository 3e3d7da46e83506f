"""What a run folder tells: rows of metrics, the configuration, outputs of validation examples.

A folder may come from anybody, and a run may be writing in it: what cannot be read is left out and
named in `notes`; links are not followed.
"""

import json
import math
import os
import stat
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seqtrain.checkpoint import strict_json
from seqtrain.checkpoint.verified_file import read_regular
from seqtrain.errors import CheckpointError, ConfigError, DataError
from seqtrain.report.run_folders import METRICS, left_out, run_folders, short_names

MAX_LINE_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
MAX_NAMES = 300
"""Most different values of an event."""
MAX_POINTS = 20_000
"""Of longer curves every second point is kept, or every fourth ..."""
MAX_SAMPLES = 2_000
LARGEST = 1e100
"""Larger values are gaps, as those that are not finite are."""

SAMPLES = "samples.jsonl"
CONFIG, TEST = "config.json", "test_metrics.json"
FILES = (METRICS, SAMPLES, CONFIG, TEST)
"""All that is read of a run folder."""

TRAINING = "training"
"""Stands for that of the events "train" and "epoch" which has more rows."""


@dataclass
class Curve:
    """One value over updates; nan where it was not finite."""

    updates: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    stride: int = 1
    skipped: int = 0

    def add(self, num_updates: int, value: float) -> None:
        """Appends a point; a run that went back to a checkpoint replaces what came after it."""
        if self.updates and num_updates <= self.updates[-1]:
            keep = bisect_left(self.updates, num_updates)
            del self.updates[keep:], self.values[keep:]
        self.skipped += 1
        if self.skipped < self.stride:
            return
        self.skipped = 0
        self.updates.append(num_updates)
        self.values.append(value)
        if len(self.updates) > MAX_POINTS:
            self.updates, self.values = self.updates[::2], self.values[::2]
            self.stride *= 2


def denser(intervals: Curve | None, epochs: Curve | None) -> Curve | None:
    """Returns the curve with more points, of rows each logging.interval and of rows each epoch.

    Both are means since the row before, so that points of the two in one line would jump: what is
    meant over a longer time lags behind.
    """
    if intervals is None or epochs is None:
        return intervals or epochs
    return epochs if len(epochs.updates) > len(intervals.updates) else intervals


@dataclass
class RunLog:
    """What is known of a run."""

    name: str
    """Short and different from those of the other runs of a report."""
    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, dict[str, Curve]] = field(default_factory=dict)
    """By event ("train", "epoch", "valid", "test"), then by name as it is logged."""
    test: dict[str, float] = field(default_factory=dict)
    """Values of the final test, by name."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows of samples.jsonl that are in order."""
    notes: list[str] = field(default_factory=list)
    """What could not be read."""

    def curve(self, event: str, name: str) -> Curve | None:
        """Returns a curve with at least one value, if there is one.

        Args:
            event: As it is logged, or TRAINING.
            name: As it is logged.
        """
        if event == TRAINING:
            found = denser(self.curve("train", name), self.curve("epoch", name))
        else:
            found = self.curves.get(event, {}).get(name)
        if found is None or all(math.isnan(value) for value in found.values):
            return None
        return found

    def names(self, event: str) -> list[str]:
        """Returns the names of an event's curves; the event may be TRAINING."""
        events = ("train", "epoch") if event == TRAINING else (event,)
        return list(dict.fromkeys(name for each in events for name in self.curves.get(each, {})))

    @property
    def num_updates(self) -> int:
        """The last update that a row is about."""
        return max((c.updates[-1] for e in self.curves.values() for c in e.values()), default=0)

    def seconds_at(self, updates: list[int]) -> list[float]:
        """Returns the time of training at some updates, between those that are known; or nan."""
        known = self.curve(TRAINING, "train_wall")
        if known is None:
            return [math.nan] * len(updates)
        steps, seconds = [0, *known.updates], [0.0, *known.values]
        return [float(value) for value in np.interp(updates, steps, seconds)]


def read_runs(paths: list[Path], may_be_new: bool = False) -> list[RunLog]:
    """Reads run folders, each with a name that tells it from the others.

    Args:
        paths: At least one; a folder of runs stands for the runs in it.
        may_be_new: A run that has written nothing yet is shown as such.

    Raises:
        DataError: A folder does not exist or holds no metrics.jsonl.
    """
    if not paths:
        raise ConfigError("runs is empty: name run folders, as in runs=[runs/a,runs/b].")
    given, paths = paths, run_folders(paths)
    names = short_names([path.resolve() for path in paths])
    runs = []
    for path, name in zip(paths, names, strict=True):
        if may_be_new and not os.path.lexists(path / METRICS):
            runs.append(RunLog(name, path, notes=["nothing is written yet"]))
        else:
            runs.append(read_run_log(path, name))
    runs[0].notes += left_out(given)
    return runs


def read_run_log(path: Path, name: str) -> RunLog:
    """Reads one run folder.

    Raises:
        DataError: It does not exist or holds no metrics.jsonl.
    """
    if not os.path.lexists(path / METRICS):
        reason = f"has no {METRICS} and no runs in it" if path.is_dir() else "is no folder"
        raise DataError(f"runs: {path} {reason}. Name run folders, as in runs=[runs/a,runs/b].")
    run = RunLog(name, path)
    num_bad = 0
    for row in _rows(path / METRICS, run.notes):
        num_bad += not _take_row(run, row)
    if num_bad:
        run.notes.append(f"{METRICS}: {num_bad} lines are no rows and were left out")
    config = _read_json(path / CONFIG, run.notes)
    run.config = config if isinstance(config, dict) else {}
    if os.path.lexists(path / TEST):
        run.test = _numbers(_read_json(path / TEST, run.notes))
    if os.path.lexists(path / SAMPLES):
        run.samples = _thinned([row for row in _rows(path / SAMPLES, run.notes) if _is_sample(row)])
    return run


def _take_row(run: RunLog, row: Any) -> bool:
    """Adds a row of metrics; returns whether it is one."""
    if not isinstance(row, Mapping):
        return False
    event, num_updates = row.get("event"), row.get("num_updates")
    if not isinstance(event, str) or type(num_updates) is not int or not _is_count(num_updates):
        return False
    curves = run.curves.setdefault(event[:40], {}) if len(run.curves) < 20 else {}
    for name, value in row.items():
        if name in ("event", "num_updates") or not isinstance(value, int | float | None):
            continue
        if name not in curves and (len(curves) >= MAX_NAMES or len(name) > 100):
            continue
        curves.setdefault(name, Curve()).add(num_updates, _plain(value))
    return True


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_sample(row: Any) -> bool:
    return isinstance(row, Mapping) and _is_count(row.get("num_updates")) and "id" in row


def _plain(value: float | None) -> float:
    return float(value) if value is not None and abs(value) < LARGEST else math.nan


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    named = [(name, value) for name, value in values.items() if type(value) in (int, float)]
    return {name: float(value) for name, value in named[:MAX_NAMES] if abs(value) < LARGEST}


def _rows(path: Path, notes: list[str]) -> Iterator[Any]:
    """Yields the JSON value of each whole line, None for one that is none.

    A last line without its end is being written, or was torn by a crash; it is passed over.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        notes.append(f"{path.name}: {error.strerror}")
        return
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        notes.append(f"{path.name}: not a file")
        return
    with os.fdopen(descriptor, "rb") as file:
        too_long = False
        while line := file.readline(MAX_LINE_BYTES):
            if not line.endswith(b"\n"):
                too_long = True  # the rest of it follows, or nothing
            elif too_long:
                too_long = False
                yield None
            else:
                yield _json(line)
            if file.tell() > MAX_FILE_BYTES:
                notes.append(f"{path.name}: only the first {MAX_FILE_BYTES} bytes were read")
                return


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _read_json(path: Path, notes: list[str]) -> Any:
    try:
        return strict_json.parse(read_regular(path, strict_json.MAX_BYTES), path.name)
    except CheckpointError as error:
        notes.append(str(error))
        return None


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows of evenly spaced updates, the first and the last among them."""
    updates = sorted({row["num_updates"] for row in rows})
    per_update = max(1, len(rows) // max(len(updates), 1))
    most = max(2, MAX_SAMPLES // per_update)
    if len(updates) <= most:
        return rows
    places = np.linspace(0, len(updates) - 1, most).round().astype(int)
    kept = {updates[place] for place in places}
    return [row for row in rows if row["num_updates"] in kept]
