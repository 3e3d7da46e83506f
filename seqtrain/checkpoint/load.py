"""Reads checkpoints. Nothing is returned before every byte was checked; nothing is unpickled."""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seqtrain.checkpoint import strict_json, tensor_file
from seqtrain.checkpoint.layout import (
    BEST,
    MANIFEST,
    PIECES_PART,
    RANK_PART,
    committed,
    updates_of,
)
from seqtrain.checkpoint.manifest import Manifest
from seqtrain.checkpoint.pieces import merge
from seqtrain.checkpoint.ranking import read_ranking
from seqtrain.checkpoint.tree import Tree, join
from seqtrain.checkpoint.verified_file import VerifiedFile, read_regular
from seqtrain.errors import CheckpointError, SeqtrainError
from seqtrain.files import as_typed

MAX_LISTED = 5
"""Checkpoints that a message names."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint whose files are all as they were written."""

    path: Path
    manifest: Manifest
    parts: dict[str, Tree]
    """Trees by name. Tensors lie on the CPU in memory of their own."""


def read_checkpoint(
    path: Path, expected_rank: int | None = None, names: Collection[str] | None = None
) -> LoadedCheckpoint:
    """Reads one checkpoint. It never falls back to another.

    Args:
        path: The checkpoint's directory.
        expected_rank: Leaves out the parts of other ranks. A rank that did not exist when the
            checkpoint was written has no part.
        names: Parts to return, of those that are there; None for all. All files are verified.

    Raises:
        CheckpointError: It is not there, not a checkpoint, or damaged. Names the file.
    """
    manifest = _read_manifest(path)
    parts: dict[str, Tree] = {}
    divided: dict[str, list[Tree]] = {}
    for part_name in manifest.part_names:
        match = RANK_PART.fullmatch(part_name)
        other_rank = match and expected_rank is not None and int(match[1]) != expected_rank
        pieces = PIECES_PART.fullmatch(part_name)
        name = pieces[1] if pieces else part_name
        keep = (names is None or name in names) and not other_rank
        tree = _read_part(path, part_name, manifest, keep)
        if keep and pieces:
            divided.setdefault(name, []).append(tree)
        elif keep:
            parts[name] = tree
    for name, by_rank in divided.items():
        if name not in parts:
            raise CheckpointError(f"{path}: the part {name} is there only in pieces.")
        parts[name] = merge([parts[name], *by_rank], f"{path}: part {name}")
    return LoadedCheckpoint(path, manifest, parts)


def read_newest(
    directory: Path,
    report: Callable[[str], None],
    expected_rank: int | None = None,
    names: Collection[str] | None = None,
) -> LoadedCheckpoint | None:
    """Reads the newest checkpoint that is valid.

    Args:
        directory: Folder of checkpoints.
        report: Receives a line for each newer one that is damaged, and one on what that costs.
        expected_rank: As for `read_checkpoint`.
        names: As for `read_checkpoint`.

    Returns:
        None only if there are no checkpoints, or no such folder.

    Raises:
        CheckpointError: There are checkpoints, and all are damaged: starting from zero would
            hide that.
    """
    paths = committed(directory)
    failures = []
    for path in paths:
        try:
            loaded = read_checkpoint(path, expected_rank, names)
        except CheckpointError as error:
            failures.append(str(error))
            report(f"cannot use {path.name}: {error}")
            continue
        if failures:
            report(
                f"going back to {path.name}: up to {updates_of(paths[0].name)} updates had been "
                f"saved, those after {loaded.manifest.num_updates} are done again"
            )
        return loaded
    if failures:
        raise CheckpointError(
            f"No checkpoint in {directory} is valid, and the run does not begin anew by itself: "
            f"{'; '.join(failures)} Restore one, or move them away, or choose another run_dir."
        )
    return None


@contextmanager
def applying(path: Path) -> Iterator[None]:
    """Names the checkpoint where its content turns out to be odd while it is applied.

    Checksums tell damage. They do not tell whether the content is what a run saves, so that a
    checkpoint of a stranger, or of another program version, can miss anything.

    Raises:
        CheckpointError: In the place of the errors that odd content causes.
    """
    try:
        yield
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error
    except SeqtrainError:  # about the run that it is applied to
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError,
            ValueError) as error:  # fmt: skip
        reason = (str(error).strip().splitlines() or [""])[0][:500].rstrip(".")
        raise CheckpointError(
            f"{path}: its content is not what this program saves for such a run "
            f"({type(error).__name__}: {reason}). Use another checkpoint, or the version that "
            "wrote it."
        ) from error


def verify(path: Path) -> Manifest:
    """Checks every byte of a checkpoint, keeping none in memory.

    Raises:
        CheckpointError: It is not valid.
    """
    return read_checkpoint(path, names=()).manifest


def inspect(path: Path) -> Manifest:
    """Returns the manifest after the quick checks: every file is there and has its size.

    Raises:
        CheckpointError: It is not valid.
    """
    return _read_manifest(path)


def resolve(path: Path) -> Path:
    """Returns the checkpoint that a user's path means.

    Args:
        path: A checkpoint means itself; a run directory or its folder of checkpoints means the
            best checkpoint, or the newest where none is known as the best.

    Raises:
        CheckpointError: There is none.
    """
    if os.path.lexists(path / MANIFEST):
        return path.resolve()
    if updates_of(path.name) is not None and os.path.lexists(path):
        return path.resolve()  # it is damaged; whoever reads it tells how
    for directory in (path / "checkpoints", path):
        paths = committed(directory) if directory.is_dir() else []
        if paths and os.path.lexists(directory / BEST):
            best = directory / read_ranking(directory).best
            if not os.path.lexists(best):
                raise CheckpointError(
                    f"{directory / BEST} names {best.name}, which is not there. Name one of "
                    f"{', '.join(p.name for p in paths[:3])} instead."
                )
            return best
        if paths:
            return paths[0]
    reason = "holds no checkpoint" if os.path.lexists(path) else "does not exist"
    raise CheckpointError(f"{path} {reason}. {_what_there_is(path)}")


def read_named(path: Path, key: str, names: Collection[str] | None = None) -> LoadedCheckpoint:
    """Reads the checkpoint that a user's path means.

    Args:
        path: As for `resolve`.
        key: Setting that named it, for messages.
        names: As for `read_checkpoint`.

    Raises:
        CheckpointError: There is none, or it is damaged: then another one of its run is named.
    """
    found = resolve(path)
    try:
        return read_checkpoint(found, names=names)
    except CheckpointError as error:
        whole = next((p for p in committed(found.parent) if p != found and _is_whole(p)), None)
        if whole is None:
            raise
        raise CheckpointError(
            f"{error} Another one of this run is whole: {key}={as_typed(whole)}"
        ) from error


def _is_whole(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _what_there_is(path: Path) -> str:
    """Returns what to name in the place of a path without a checkpoint."""
    for directory in (path.parent, path.parent / "checkpoints"):
        if paths := committed(directory) if directory.is_dir() else []:
            names = ", ".join(step.name for step in paths[:MAX_LISTED])
            more = f", and {len(paths) - MAX_LISTED} older" if len(paths) > MAX_LISTED else ""
            return f"In {as_typed(directory)} there are {names}{more}."
    return "Name a run directory or a step-... directory in it."


def _read_manifest(path: Path) -> Manifest:
    """Returns the manifest of a directory that holds exactly the files in it, each of its size."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise CheckpointError(f"{path}: not a directory.")
        with os.scandir(path) as entries:
            present = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
        if MANIFEST not in present:
            raise CheckpointError(f"{path / MANIFEST}: missing, so this is no checkpoint.")
        if present[MANIFEST].st_size > strict_json.MAX_BYTES:
            raise CheckpointError(f"{path / MANIFEST}: {present[MANIFEST].st_size} bytes.")
        data = read_regular(path / MANIFEST, present[MANIFEST].st_size)
    except OSError as error:
        raise CheckpointError(f"{error.filename or path}: {error.strerror}.") from error
    manifest = Manifest.parse(data, str(path / MANIFEST))
    _check_listing(path, manifest, present)
    return manifest


def _check_listing(path: Path, manifest: Manifest, present: dict[str, os.stat_result]) -> None:
    updates = updates_of(path.name)
    if updates is not None and updates != manifest.num_updates:
        raise CheckpointError(
            f"{path / MANIFEST}: says {manifest.num_updates} updates, the directory's name "
            f"{updates}."
        )
    declared = {entry.name: entry for entry in manifest.files}
    for name in sorted(declared.keys() ^ (present.keys() - {MANIFEST})):
        state = "missing" if name in declared else "not in the manifest, so not of this checkpoint"
        raise CheckpointError(f"{path / name}: {state}.")
    for name, entry in declared.items():
        if not stat.S_ISREG(present[name].st_mode):
            raise CheckpointError(f"{path / name}: a link or something else that is not a file.")
        if present[name].st_size != entry.size:
            raise CheckpointError(
                f"{path / name}: {present[name].st_size} bytes, {entry.size} were written."
            )


def _read_part(path: Path, name: str, manifest: Manifest, keep: bool) -> Tree:
    entries = {entry.name: entry for entry in manifest.files}
    text_entry = entries[f"{name}.json"]
    text_path = path / text_entry.name
    if text_entry.size > strict_json.MAX_BYTES:
        raise CheckpointError(f"{text_path}: {text_entry.size} bytes, too many for JSON.")
    with VerifiedFile(text_path, text_entry) as file:
        text = file.read(text_entry.size)
        file.finish()
    plain = strict_json.parse(text, str(text_path))
    tensors = {}
    tensor_entry = entries.get(f"{name}.safetensors")
    if tensor_entry is not None:
        tensor_path = path / tensor_entry.name
        with VerifiedFile(tensor_path, tensor_entry) as file:
            tensors = tensor_file.read(file, tensor_entry.size, str(tensor_path), keep)
            file.finish()
    return join(plain, tensors, str(text_path)) if keep else None
