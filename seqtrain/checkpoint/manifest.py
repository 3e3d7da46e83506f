"""The manifest: what a checkpoint is, and size and checksum of every file in it."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch

import seqtrain
from seqtrain.checkpoint import strict_json
from seqtrain.checkpoint.layout import FILE_NAME, MANIFEST, MAX_UPDATES
from seqtrain.errors import CheckpointError

FORMAT_VERSION = 1
"""Version of the layout; one that is not known is refused."""

_MAX_FILES = 100_000


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file of a checkpoint."""

    name: str
    size: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint is. Written last, it makes a directory of files a checkpoint."""

    num_updates: int
    world_size: int
    num_threads: int
    """Threads of torch: another number gives other bits."""
    versions: dict[str, str]
    """Of seqtrain, torch, numpy and python, where it was written."""
    about: dict[str, Any]
    """What the writer wants to be known: plain values."""
    files: tuple[FileEntry, ...]
    """By name."""

    @classmethod
    def describe(
        cls,
        num_updates: int,
        world_size: int,
        about: Mapping[str, Any],
        files: list[FileEntry],
    ) -> Self:
        """Returns the manifest of files that this process and its peers have written.

        Raises:
            CheckpointError: `about` is not plain, or two ranks wrote files of one name.
        """
        manifest = cls(
            num_updates=num_updates,
            world_size=world_size,
            num_threads=torch.get_num_threads(),
            versions={
                "seqtrain": seqtrain.__version__,
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            about=dict(about),
            files=tuple(sorted(files)),
        )
        # What is written must be readable: the reader's checks hold for the writer.
        return cls.parse(manifest.to_bytes(), MANIFEST)

    @property
    def sha256(self) -> str:
        """Checksum of all the rest; two checkpoints with the same one are the same."""
        return hashlib.sha256(strict_json.dump(self._fields(), MANIFEST, indent=1)).hexdigest()

    @property
    def part_names(self) -> list[str]:
        """Names of the parts, sorted."""
        return [entry.name[:-5] for entry in self.files if entry.name.endswith(".json")]

    def to_bytes(self) -> bytes:
        """Returns the file's content; the same manifest gives the same bytes."""
        return (
            strict_json.dump(self._fields() | {"sha256": self.sha256}, MANIFEST, indent=1) + b"\n"
        )

    @classmethod
    def parse(cls, data: bytes, what: str) -> Self:
        """Returns the manifest that a file holds.

        Args:
            data: The file's content.
            what: Its name, for messages.

        Raises:
            CheckpointError: It is damaged, made by hand, or of another format version.
        """
        fields = strict_json.parse(data, what)
        _check_version(fields, what)
        expected = {"format_version", "sha256", *cls.__dataclass_fields__}
        if fields.keys() != expected:
            key = min(fields.keys() ^ expected)
            raise CheckpointError(f"{what}: the key {key!r} is missing or unknown.")
        for key, kind in _KINDS.items():
            # Not isinstance: True is an int, too.
            if type(fields[key]) is not kind:
                raise CheckpointError(f"{what}: {key} is not a {kind.__name__}.")
        if not 0 <= fields["num_updates"] <= MAX_UPDATES or fields["world_size"] < 1:
            raise CheckpointError(f"{what}: num_updates or world_size is out of range.")
        manifest = cls(
            **{key: fields[key] for key in _KINDS if key not in ("files", "format_version")},
            files=_parse_files(fields["files"], what),
        )
        # The text has one form only, so this notices every changed byte, in white space too.
        if manifest.sha256 != fields["sha256"] or manifest.to_bytes() != data:
            raise CheckpointError(f"{what}: damaged: the content does not fit its checksum.")
        return manifest

    def _fields(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, **asdict(self)}


_KINDS: Mapping[str, type] = {
    "num_updates": int,
    "world_size": int,
    "num_threads": int,
    "versions": dict,
    "about": dict,
    "files": list,
}


def _check_version(fields: Any, what: str) -> None:
    if not isinstance(fields, dict) or "format_version" not in fields:
        raise CheckpointError(f"{what}: not a manifest of a checkpoint.")
    version = fields["format_version"]
    if type(version) is not int or version != FORMAT_VERSION:
        versions = fields.get("versions")
        writer = versions.get("seqtrain") if isinstance(versions, dict) else None
        raise CheckpointError(
            f"{what}: format version {version!r}, written by seqtrain {writer!r}; this is seqtrain "
            f"{seqtrain.__version__}, which reads version {FORMAT_VERSION}. Use the seqtrain that "
            "wrote it."
        )


def _parse_files(rows: list[Any], what: str) -> tuple[FileEntry, ...]:
    if len(rows) > _MAX_FILES:
        raise CheckpointError(f"{what}: lists {len(rows)} files, more than {_MAX_FILES}.")
    files = tuple(_parse_file(row, what) for row in rows)
    names = [entry.name for entry in files]
    if names != sorted(set(names)):
        raise CheckpointError(f"{what}: the list of files repeats a name or is not sorted.")
    for name in names:
        stem, _, kind = name.rpartition(".")
        if kind == "safetensors" and f"{stem}.json" not in names:
            raise CheckpointError(f"{what}: lists {name} without {stem}.json.")
    return files


def _parse_file(row: Any, what: str) -> FileEntry:
    if not isinstance(row, dict) or row.keys() != {"name", "size", "crc32"}:
        raise CheckpointError(f"{what}: an entry of the list of files has other keys.")
    name, size, crc32 = row["name"], row["size"], row["crc32"]
    if not isinstance(name, str) or not FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise CheckpointError(f"{what}: {name!r} is not a name for a file of a checkpoint.")
    if type(size) is not int or type(crc32) is not int or size < 0 or not 0 <= crc32 < 2**32:
        raise CheckpointError(f"{what}: {name} has no valid size and checksum.")
    return FileEntry(name, size, crc32)
