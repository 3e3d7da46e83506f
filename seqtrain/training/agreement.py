"""What all processes of a run must have the same: settings, code, data and the run directory."""

import hashlib
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seqtrain import __version__
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import DistributedError
from seqtrain.files import RunLock
from seqtrain.tasks.base import Task
from seqtrain.training.run_config import RunConfig

SECONDS_TO_SEE = 30.0
"""Time that a shared disk may take to show one machine what another one has written."""


def require_same_settings(
    config: RunConfig, about: Mapping[str, Any], collectives: Collectives
) -> None:
    """Checks that all ranks have one configuration, and the same code to run it.

    Args:
        config: Of this rank; only the device may differ.
        about: Plain values for manifests, with the loaded plug-ins.
        collectives: All ranks call this together.

    Raises:
        DistributedError: On every rank; names what differs, and both sides.
    """
    container = config.to_container()
    container.pop("device")
    collectives.require_equal(container, "the configuration")
    plugins = {
        plugin["name"]: {"version": plugin["version"], "sha256": plugin["sha256"]}
        for plugin in about.get("plugins", [])
    }
    versions = {"seqtrain": __version__, "torch": torch.__version__, "plugins": plugins}
    collectives.require_equal(versions, "the installed code")


def require_same_data(config: RunConfig, task: Task, collectives: Collectives) -> None:
    """Checks that all ranks have the same examples and vocabularies; alone, it opens nothing.

    Raises:
        DistributedError: On every rank; names the split or the side, and both sides.
    """
    if collectives.world_size == 1:
        return
    wanted = ["train", *config.validation.splits, config.validation.test_split]
    splits = [split for split in task.splits() if split in wanted]
    collectives.require_equal(
        {
            "examples": {split: task.dataset(split).fingerprint for split in splits},
            "vocabularies": {side: _digest(s) for side, s in task.vocabularies().items()},
        },
        "the data (fingerprints)",
    )


def require_same_directory(run_dir: Path, collectives: Collectives) -> None:
    """Checks that all ranks see the run directory whose lock the first rank holds.

    Raises:
        DistributedError: On every rank; names the ranks that see another one, with their machines.
    """
    if collectives.world_size == 1:
        return
    holder = collectives.broadcast_json(_lock_text(run_dir))
    seen = {"sees": _sees(run_dir, holder), "host": socket.gethostname(), "path": str(run_dir)}
    found = collectives.gather_json(seen)
    blind = [rank for rank, other in enumerate(found) if not other["sees"]]
    if blind:
        names = ", ".join(f"rank {rank} on {found[rank]['host']}" for rank in blind)
        raise DistributedError(
            f"{names} cannot see the run directory {found[0]['path']} of rank 0 on "
            f"{found[0]['host']}, or has another one of that name. Choose a run_dir on a disk that "
            "all machines share, by its whole path."
        )


def _sees(run_dir: Path, holder: str) -> bool:
    deadline = time.monotonic() + SECONDS_TO_SEE
    while _lock_text(run_dir) != holder:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _lock_text(run_dir: Path) -> str:
    try:
        return RunLock(run_dir).path.read_text()
    except OSError:
        return "no lock"


def _digest(symbols: list[str]) -> str:
    return hashlib.sha256(json.dumps(symbols).encode()).hexdigest()
