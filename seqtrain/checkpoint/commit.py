"""Writes a checkpoint: all of its files on disk first, then one rename that makes it exist."""

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from seqtrain.checkpoint import strict_json, tensor_file
from seqtrain.checkpoint.layout import (
    MANIFEST,
    PART_NAME,
    PIECES_PART,
    RANK_PART,
    step_name,
    trash_name,
    unfinished_name,
)
from seqtrain.checkpoint.load import verify
from seqtrain.checkpoint.manifest import FileEntry, Manifest
from seqtrain.checkpoint.tree import SplitTree, Tree, split
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import CheckpointError, MachineError
from seqtrain.files import remove_tree, sync_directory, write_all

_BLOCK = 4 * 2**20
"""Bytes that are hashed and written at a time: they stay in the processor's cache."""


class Peers(Protocol):
    """The part of `Collectives` that a commit needs."""

    rank: int
    world_size: int

    def gather_json(self, value: Any) -> list[Any]:
        """Returns the values of all ranks, by rank, on every rank."""
        ...


def write_checkpoint(
    directory: Path,
    num_updates: int,
    parts: Mapping[str, Tree],
    about: Mapping[str, Any],
    collectives: Peers | None = None,
) -> Path:
    """Commits a checkpoint of trees by name; see `write_split_parts`."""

    def prepare() -> dict[str, SplitTree]:
        return {name: split(tree, name) for name, tree in parts.items()}

    return write_split_parts(directory, num_updates, prepare, about, collectives)


def write_split_parts(
    directory: Path,
    num_updates: int,
    prepare: Callable[[], Mapping[str, SplitTree]],
    about: Mapping[str, Any],
    collectives: Peers | None = None,
) -> Path:
    """Commits a checkpoint; all ranks call it together, and succeed or fail together.

    A crash at any instant leaves either the complete checkpoint or none. One that is there
    already, valid and with the same content, is left as it is; a damaged one is replaced.

    Args:
        directory: Folder of checkpoints, on a disk that all ranks share.
        num_updates: Updates that the state has seen; gives the name.
        prepare: Returns split trees by name: on rank 0 all common ones, on every rank its own
            `rank-<5 digits>` and its pieces of common ones, `<name>-rank-<5 digits>`. If it fails
            on one rank, all fail.
        about: Plain values for the manifest; rank 0's count.
        collectives: How to reach the other ranks; None if there are none.

    Returns:
        Path of the checkpoint.

    Raises:
        CheckpointError: On every rank the same, if any of them failed; nothing is left behind.
        MachineError: The same way, where the disk is full or refuses.
    """
    peers = collectives if collectives is not None else Collectives()
    final = directory / step_name(num_updates)
    files: list[_PlannedFile] = []
    # The action's result comes back through JSON, the plan itself stays here.
    sizes = _together(peers, final, lambda: _plan(prepare(), peers, files))
    opened = _together(peers, final, lambda: _first(peers, lambda: _open(final, sum(sizes))))
    unfinished = directory / opened[0]
    try:
        written = _together(peers, final, lambda: [asdict(_write(unfinished, f)) for f in files])
        entries = [FileEntry(**fields) for rank_files in written for fields in rank_files]

        def commit() -> None:
            manifest = Manifest.describe(num_updates, peers.world_size, about, entries)
            _commit(unfinished, final, manifest)

        _together(peers, final, lambda: _first(peers, commit))
    finally:
        if peers.rank == 0 and os.path.lexists(unfinished):
            with suppress(OSError):  # the next start removes it
                remove_tree(unfinished)
    return final


@dataclass(frozen=True)
class _PlannedFile:
    name: str
    size: int
    chunks: Callable[[], Iterable[memoryview]]


def _together(peers: Peers, final: Path, action: Callable[[], Any]) -> list[Any]:
    """Does something on every rank; returns all results, or raises one error on every rank."""
    cause: Exception | None = None
    outcome: dict[str, Any]
    try:
        outcome = {"result": action()}
    except Exception as error:  # whatever it is, the other ranks must not wait for this one
        cause = error
        outcome = {"error": str(error) or repr(error), "machine": isinstance(error, MachineError)}
    outcomes = peers.gather_json(outcome)
    for rank, other in enumerate(outcomes):
        if "error" in other:
            where = f"rank {rank}: " if peers.world_size > 1 else ""
            kind = MachineError if other["machine"] else CheckpointError
            message = f"Cannot write the checkpoint {final}: {where}{other['error']}"
            raise kind(message) from cause
    return [other["result"] for other in outcomes]


def _first(peers: Peers, action: Callable[[], Any]) -> Any:
    return action() if peers.rank == 0 else None


def _plan(parts: Mapping[str, SplitTree], peers: Peers, files: list[_PlannedFile]) -> int:
    """Appends this rank's files and returns their size together."""
    for name, halves in sorted(parts.items()):
        _check_part_name(name, peers)
        text = strict_json.dump(halves.plain, f"Part {name}")
        files.append(_PlannedFile(f"{name}.json", len(text), _single_chunk(text)))
        if halves.tensors:
            plan = tensor_file.plan(halves.tensors, halves.aliases, f"Part {name}")
            files.append(_PlannedFile(f"{name}.safetensors", plan.size, plan.chunks))
    return sum(file.size for file in files)


def _single_chunk(text: bytes) -> Callable[[], list[memoryview]]:
    return lambda: [memoryview(text)]


def _check_part_name(name: str, peers: Peers) -> None:
    if not PART_NAME.fullmatch(name) or f"{name}.json" == MANIFEST:
        raise CheckpointError(
            f"{name!r} cannot be the name of a part: use a-z, 0-9, - and _, beginning with a "
            "letter, 64 characters at most, and not 'manifest'."
        )
    match = RANK_PART.fullmatch(name) or PIECES_PART.fullmatch(name)
    if (int(match[match.lastindex or 1]) if match else 0) != peers.rank:
        raise CheckpointError(f"The part {name!r} is not one for rank {peers.rank} to write.")


def _open(final: Path, num_bytes: int) -> str:
    """Creates the directory to write into, if there is space for so much; returns its name."""
    directory = final.parent
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        sync_directory(directory.parent)
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    needed = num_bytes + num_bytes // 20
    if free < needed:
        raise MachineError(
            f"not enough space: {needed} bytes needed, {free} free in {directory}. Free some, or "
            "keep fewer checkpoints."
        )
    name = unfinished_name(final.name)
    (directory / name).mkdir()
    return name


def _write(directory: Path, file: _PlannedFile) -> FileEntry:
    """Writes one file and brings it to the disk; a thread hashes what is being written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    path = directory / file.name
    size = crc32 = 0
    try:
        descriptor = os.open(path, flags, 0o666)
        try:
            with ThreadPoolExecutor(1, "checksum") as hasher:
                for chunk in file.chunks():
                    for begin in range(0, chunk.nbytes, _BLOCK):
                        block = chunk[begin : begin + _BLOCK]
                        hashed = hasher.submit(zlib.crc32, block, crc32)
                        write_all(descriptor, block)
                        crc32 = hashed.result()
                    size += chunk.nbytes
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MachineError(
            f"{path}: {error.strerror} at byte {size} of {file.size}. Is the disk full, or not "
            "one that all processes share?"
        ) from error
    return FileEntry(file.name, size, crc32)


def _commit(unfinished: Path, final: Path, manifest: Manifest) -> None:
    text = memoryview(manifest.to_bytes())
    _write(unfinished, _PlannedFile(MANIFEST, text.nbytes, lambda: [text]))
    sync_directory(unfinished)
    trash = None
    if os.path.lexists(final):
        if _is_valid_and_same(final, manifest):
            return
        # Damaged: nothing is lost. The run came here again from an older checkpoint.
        trash = final.with_name(trash_name(final.name))
        final.rename(trash)
    unfinished.rename(final)
    sync_directory(final.parent)
    if trash is not None:
        with suppress(OSError):  # the next start removes it
            remove_tree(trash)


def _is_valid_and_same(final: Path, manifest: Manifest) -> bool:
    """Returns False for a damaged checkpoint.

    Raises:
        CheckpointError: It is valid, and has other content.
    """
    try:
        existing = verify(final)
    except CheckpointError:
        return False
    if existing.files == manifest.files:
        return True
    raise CheckpointError(
        "it is there already with other content: another run, or a run that was taken back to an "
        "older state. Move it away, or choose another run_dir."
    )
