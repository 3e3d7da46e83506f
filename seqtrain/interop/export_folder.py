"""The folder that an export makes: it appears under its name when it is complete."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqtrain.checkpoint.layout import MANIFEST
from seqtrain.checkpoint.load import inspect
from seqtrain.errors import CheckpointError, ConfigError, MachineError
from seqtrain.files import sync_directory, temporary_name

CARD = "seqtrain_export.json"
EXPORTED = "exported"
"""Key of an exported checkpoint's manifest, which takes no further file such as the card."""


@contextmanager
def export_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """Gives an empty folder beside `out`, which takes its place if the block succeeds.

    Args:
        out: The folder; what it is in is made.
        overwrite: Replace an earlier export. Anything else that is there stays, whatever is said.

    Raises:
        ConfigError: `out` is there already.
        MachineError: It cannot be written.
    """
    require_free(out, overwrite)
    out = out.resolve()
    building = out.with_name(temporary_name(out.name))
    replaced = out.with_name(temporary_name(out.name))
    try:
        building.mkdir(parents=True)
        yield building
        if out.exists():
            out.rename(replaced)
        building.rename(out)
        sync_directory(out.parent)
    except OSError as error:
        raise MachineError(f"out={out} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        if out.exists():
            shutil.rmtree(replaced, ignore_errors=True)


def require_free(out: Path, overwrite: bool) -> None:
    """Raises ConfigError if the folder is there and may not be replaced."""
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir():
        raise ConfigError(f"out={out} is there and no folder. Name a new folder.")
    if not any(out.iterdir()):
        return
    if not _is_export(out):
        raise ConfigError(
            f"out={out} holds files that seqtrain-export did not write. Name a new folder."
        )
    if not overwrite:
        raise ConfigError(f"out={out} is there. Name a new folder, or set overwrite=true.")


def write_card(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes what the folder is, and where it is from."""
    write_json(folder / CARD, content)


def write_json(path: Path, content: Any) -> None:
    """Writes plain values as JSON that people can read."""
    text = json.dumps(content, ensure_ascii=False, indent=2)
    path.write_text(f"{text}\n", encoding="utf-8")


def _is_export(folder: Path) -> bool:
    if (folder / CARD).is_file():
        return True
    if not (folder / MANIFEST).is_file():
        return False
    try:
        return EXPORTED in inspect(folder).about
    except CheckpointError:
        return False
