"""The folder of a run: held by one run, tidied up, and taken back if nothing came of it."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seqtrain.checkpoint.retention import clean_leftovers
from seqtrain.distributed.collectives import Collectives
from seqtrain.files import (
    RunLock,
    ensure_writable_directory,
    record,
    remove_tree,
    temporary_name,
)
from seqtrain.training.agreement import require_same_directory
from seqtrain.training.run_config import changed_keys

CONFIG = "config.json"
_OF_A_COMMAND = {"run_dir", "debug", "profile"}
"""Settings that may change without a word: they say nothing of what is trained."""


@contextmanager
def held_run_folder(
    run_dir: Path, collectives: Collectives, num_updates: Callable[[], int]
) -> Iterator[None]:
    """Holds the folder of a run: the first rank has the lock and tidies up.

    A folder that was made here, for a run that ended by an error before its first update, is
    removed again, if nothing is in it but what every run begins with.

    Args:
        run_dir: The folder.
        collectives: All ranks call this together.
        num_updates: Tells how far the run is.
    """
    if collectives.rank != 0:
        require_same_directory(run_dir, collectives)
        yield
        return
    made = [path for path in (run_dir, *run_dir.parents) if not os.path.lexists(path)]
    ensure_writable_directory(run_dir)
    with RunLock(run_dir):
        try:
            checkpoints = run_dir / "checkpoints"
            ensure_writable_directory(checkpoints)
            clean_leftovers(checkpoints)
            require_same_directory(run_dir, collectives)
            yield
        except BaseException:
            if run_dir in made and num_updates() == 0 and not _holds_something(run_dir):
                _take_back(made)
            raise


def record_config(run_dir: Path, config: Mapping[str, Any], num_updates: int) -> None:
    """Writes the configuration of a run that begins or goes on.

    Where it has changed, the former one is kept as `config.N.json`: what the first N updates were
    made with.

    Args:
        run_dir: The folder.
        config: Plain nested values.
        num_updates: Updates that are done.
    """
    path = run_dir / CONFIG
    text = json.dumps(config, indent=2)
    former = path.read_bytes() if path.is_file() else text.encode()
    kept = run_dir / f"config.{num_updates}.json"
    if num_updates and _differs(former, config) and not os.path.lexists(kept):
        record(kept, former.decode(errors="replace"))
    record(path, text)


def _differs(former: bytes, config: Mapping[str, Any]) -> bool:
    try:
        return bool(changed_keys(json.loads(former), config).keys() - _OF_A_COMMAND)
    except (ValueError, AttributeError):  # it is no configuration: somebody's own file
        return True


def _holds_something(run_dir: Path) -> bool:
    """Says whether there is anything that a person could want to keep."""
    for folder, _, names in os.walk(run_dir):
        for name in names:
            path = Path(folder) / name
            is_ours = path in (run_dir / CONFIG, run_dir / "run.lock")
            # A log without a row: TensorBoard's begins with a mark.
            is_ours |= path.parent == run_dir / "tensorboard" and ".tfevents." in name
            if path.is_symlink() or not (is_ours or path.stat().st_size == 0):
                return True
    return False


def _take_back(made: list[Path]) -> None:
    """Removes a folder, and what was made above it as far as that is empty."""
    run_dir, *above = made
    with suppress(OSError):  # the error that ended the run is the one to tell
        # In one step, while the lock is held: another run finds all of the folder, or none.
        doomed = run_dir.rename(run_dir.with_name(temporary_name(run_dir.name)))
        remove_tree(doomed)
        for path in above:
            path.rmdir()
