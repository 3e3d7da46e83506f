"""Foreign checkpoints as tensors and plain values; the pickle itself is read by another process."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from seqtrain.errors import CheckpointError, ConfigError

_READER = Path(__file__).with_name("foreign_pickle.py")
_WALL_SECONDS = 600


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What a foreign checkpoint holds."""

    path: Path
    tensors: dict[str, Tensor]
    """Weights of the model, by its names; each in memory of its own."""
    settings: dict[str, Any]
    """Settings by name, groups of settings flattened; "model._name" and the like stay apart."""
    num_updates: int


def read_foreign(path: Path, is_trusted: bool) -> ForeignCheckpoint:
    """Reads a checkpoint that torch saved.

    A process of its own reads the pickle, with limits on memory and time and with no class or
    function to call; this one sees safetensors and JSON.

    Args:
        path: The file.
        is_trusted: The user knows where it is from.

    Raises:
        ConfigError: There is no such file, or it is not trusted.
        CheckpointError: It cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"checkpoint={path} is not a file: name a checkpoint_best.pt.")
    if not is_trusted:
        raise ConfigError(
            f"checkpoint={path} is a pickle, which can hold a program of its maker. It is read in "
            "a confined process that runs nothing of it; still, say trust=true only if you know "
            "where the file is from."
        )
    with tempfile.TemporaryDirectory(prefix="seqtrain-import-") as folder:
        _run_reader(path, Path(folder))
        tensors = load_file(Path(folder) / "tensors.safetensors")
        plain = json.loads((Path(folder) / "plain.json").read_text(encoding="utf-8"))
    history = plain.get("optimizer_history") or [{}]
    last = history[-1] if isinstance(history, list) and isinstance(history[-1], dict) else {}
    num_updates = last.get("num_updates", 0)
    settings = flatten(plain.get("cfg") or plain.get("args") or {})
    is_count = isinstance(num_updates, int) and 0 <= num_updates < 10**10
    return ForeignCheckpoint(path, tensors, settings, num_updates if is_count else 0)


def flatten(settings: Any) -> dict[str, Any]:
    """Returns settings without their groups; the names of components keep theirs: "task._name"."""
    flat: dict[str, Any] = {}
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if not isinstance(value, dict):
            flat[name] = value
            continue
        for inner, item in value.items():
            flat[f"{name}._name" if inner == "_name" else inner] = item
    return flat


def _run_reader(path: Path, folder: Path) -> None:
    command = [sys.executable, "-I", "-S", str(_READER), str(path.resolve()), str(folder)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=folder, env={},
            timeout=_WALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(
            f"{path}: not read after {_WALL_SECONDS} s; the file is damaged or a trap."
        ) from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        by_signal = f"the reading process ended with signal {-done.returncode}, at its limits"
        reason = by_signal if done.returncode < 0 else lines[-1] if lines else "no reason was given"
        raise CheckpointError(f"{path} cannot be imported: {reason}.")
