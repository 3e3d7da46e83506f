"""Names in a folder of checkpoints: what is committed, what is unfinished, what is rubbish."""

import re
import uuid
from pathlib import Path

from seqtrain.errors import CheckpointError
from seqtrain.files import temporary_name

MANIFEST = "manifest.json"
BEST = "best.json"
PART_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
FILE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\.(json|safetensors)", re.ASCII)
RANK_PART = re.compile(r"rank-(\d{5})", re.ASCII)
PIECES_PART = re.compile(r"([a-z][a-z0-9_-]*)-rank-(\d{5})", re.ASCII)
MAX_UPDATES = 10**10 - 1

_STEP = re.compile(r"step-(\d{10})", re.ASCII)
_LEFTOVER = re.compile(r"\.(tmp-(step-\d{10}|best\.json)|trash-step-\d{10})-[0-9a-f]{32}", re.ASCII)


def step_name(num_updates: int) -> str:
    """Returns the name of the checkpoint after an update count; names sort like counts."""
    if not 0 <= num_updates <= MAX_UPDATES:
        raise CheckpointError(
            f"A checkpoint needs an update count of 0 to {MAX_UPDATES}, got {num_updates}."
        )
    return f"step-{num_updates:010d}"


def updates_of(name: str) -> int | None:
    """Returns the update count in a checkpoint's name; None for any other name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None


def unfinished_name(step: str) -> str:
    """Returns the name of the directory in which a checkpoint is written before its commit."""
    return temporary_name(step)


def trash_name(step: str) -> str:
    """Returns the name that a checkpoint gets before it is deleted."""
    return f".trash-{step}-{uuid.uuid4().hex}"


def is_leftover(name: str) -> bool:
    """Returns whether a name is one that a crash can leave behind, and only we give."""
    return _LEFTOVER.fullmatch(name) is not None


def committed(directory: Path) -> list[Path]:
    """Returns everything that is named like a checkpoint, newest first; valid or not.

    Raises:
        CheckpointError: The directory is there but cannot be listed.
    """
    try:
        found = [path for path in directory.iterdir() if updates_of(path.name) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"Cannot list {directory}: {error.strerror}.") from error
    return sorted(found, key=lambda path: path.name, reverse=True)
