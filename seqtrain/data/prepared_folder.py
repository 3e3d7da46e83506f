"""A folder that appears under its name when it is complete, and its card."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqtrain.errors import ConfigError, DataError, MachineError

CARD = "card.json"

TASKS_OF = {
    "seqtrain text": ("language_modeling", "masked_lm", "denoising"),
    "seqtrain parallel text": ("translation",),
    "seqtrain labelled sequences": ("recognition", "segmentation"),
    "seqtrain series": ("forecasting",),
}
"""The tasks that read a folder, by the kind on its card; for messages."""
RAW_DATA = {
    "seqtrain text": "task.train=[FILE]",
    "seqtrain parallel text": "task.source=en task.target=de task.train=FILES",
    "seqtrain labelled sequences": "task.train=FILE",
    "seqtrain series": "task.file=FILE",
}
"""How seqtrain-preprocess is told what such a folder is made from; for messages."""


@contextmanager
def building_folder(out: Path, kind: str) -> Iterator[Path]:
    """Gives an empty folder beside `out`, which takes its place if the block succeeds.

    A folder with a card of the same kind is replaced; any other that is not empty is left alone.

    Args:
        out: The folder.
        kind: What its card says it holds; the block writes the card.

    Raises:
        ConfigError: `out` holds something else.
        MachineError: It cannot be written.
    """
    out = out.resolve()
    _refuse_foreign(out, kind)
    building = out.with_name(f".{out.name}.{os.getpid()}.building")
    replaced = out.with_name(f".{out.name}.{os.getpid()}.replaced")
    try:
        building.mkdir(parents=True)
        yield building
        if out.exists():
            out.rename(replaced)
        building.rename(out)
    except OSError as error:
        raise MachineError(f"out={out}: cannot be written: {error}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        if out.exists():
            shutil.rmtree(replaced, ignore_errors=True)


def write_card(folder: Path, kind: str, version: int, content: Mapping[str, Any]) -> None:
    """Writes the card of a folder, as JSON."""
    card = {"kind": kind, "version": version, **content}
    text = json.dumps(card, indent=1, ensure_ascii=False)
    (folder / CARD).write_text(f"{text}\n", encoding="utf-8")


def read_card(folder: Path, kind: str, version: int) -> dict[str, Any]:
    """Returns the card of a folder.

    Raises:
        DataError: There is none, or it is of another kind or version.
    """
    path = folder / CARD
    card = _any_card(path)
    if card.get("kind") != kind:
        raise other_kind(folder, card.get("kind"), kind)
    if card.get("version") != version:
        raise DataError(
            f"{path}: version {card.get('version')!r}, this program reads {version}. "
            "Run seqtrain-preprocess again."
        )
    return card


def other_kind(folder: Path, found: object, wanted: str) -> DataError:
    """Returns the error for a folder that was prepared for another task.

    Args:
        folder: With a card.
        found: The kind on its card.
        wanted: The kind that the task reads.
    """
    if found not in TASKS_OF:
        return damaged(folder / CARD, f"not the card of a prepared folder, its kind is {found!r}")
    theirs, ours = TASKS_OF[str(found)], TASKS_OF[wanted]
    return DataError(
        f"{folder} was prepared for task={' or '.join(theirs)}, not for task={' or '.join(ours)}. "
        f"Write task={theirs[0]} to train on it, or prepare a folder for yours: "
        f"seqtrain-preprocess task={ours[0]} {RAW_DATA[wanted]} out=FOLDER."
    )


def damaged(path: Path, what: str) -> DataError:
    """Returns the error for a file of a prepared folder that is not as it was written."""
    return DataError(f"{path}: {what}. Restore the file or run seqtrain-preprocess again.")


def _any_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}. task.data must be a folder that seqtrain-preprocess wrote."
        ) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from error
    if not isinstance(card, dict):
        raise damaged(path, "not the card of a prepared folder")
    return card


def _refuse_foreign(out: Path, kind: str) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"out={out} is a file. Name a folder.")
    if not any(out.iterdir()):
        return
    try:
        is_own = _any_card(out / CARD).get("kind") == kind
    except DataError:
        is_own = False
    if not is_own:
        raise ConfigError(
            f"out={out} holds files that seqtrain-preprocess did not write for this task. Name "
            "another folder."
        )
