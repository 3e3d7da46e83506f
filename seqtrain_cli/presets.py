"""Presets and experiments as files: what each is based on, and what it sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # it ships no types

from seqtrain.errors import ConfigError
from seqtrain.registry import registries
from seqtrain_cli.arguments import texts
from seqtrain_cli.config_folders import find_file


@dataclass(frozen=True)
class DefaultsEntry:
    """One entry of a defaults list, as `override /model: lstm`.

    Args:
        text: As it is written, on one line.
        is_override: It replaces a choice.
        is_absolute: The group begins with a slash.
        group: "model"; empty if there is only a name.
        names: What is chosen; several for a list.
    """

    text: str
    is_override: bool
    is_absolute: bool
    group: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class PresetFile:
    """A YAML file in a folder of presets.

    Args:
        group: Kind of component, or "experiment".
        name: Of the file, without its ending.
        path: Of the file.
        header: The lines of the comment at its top.
        content: What it holds, as YAML reads it.
    """

    group: str
    name: str
    path: Path
    header: tuple[str, ...]
    content: Any

    @property
    def note(self) -> str:
        """What the comment says to people."""
        return " ".join(line for line in self.header if line and not line.startswith("@"))

    @property
    def entries(self) -> list[DefaultsEntry]:
        """The entries of its defaults list that choose something."""
        found = self.content.get("defaults") if isinstance(self.content, dict) else None
        parsed = [_entry(item) for item in found] if isinstance(found, list) else []
        return [entry for entry in parsed if entry is not None]

    @property
    def values(self) -> dict[str, Any]:
        """What it sets besides its defaults list."""
        content = self.content if isinstance(self.content, dict) else {}
        return {str(key): value for key, value in content.items() if key != "defaults"}

    def chooses(self, group: str, name: str) -> bool:
        """Says whether its defaults list asks for a component, a preset or a file."""
        return any(entry.group == group and name in entry.names for entry in self.entries)

    @property
    def is_global(self) -> bool:
        """It says that its settings are those of the whole run, not of a section of its own."""
        return any(line.split() == ["@package", "_global_"] for line in self.header)


def read_preset(group: str, name: str, folders: Sequence[Path]) -> PresetFile | None:
    """Reads the first file of that name; None without one.

    Raises:
        ConfigError: It is not YAML.
    """
    path = find_file(group, name, folders)
    return None if path is None else _read(group, path)


def preset_paths(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the files of a group by name, in alphabetical order; of two with one, the first."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in folder.glob(f"{group}/*.yaml"):
            found.setdefault(path.stem, path)
    return {name: found[name] for name in sorted(found)}


def lineage(preset: PresetFile, folders: Sequence[Path]) -> list[PresetFile]:
    """Returns the file and those of its group that it is based on, the nearest first."""
    chain = [preset]
    for current in chain:  # grows as it is walked
        seen = {each.name for each in chain}
        for entry in current.entries:
            if entry.group not in ("", preset.group):
                continue
            bases = [read_preset(preset.group, name, folders) for name in entry.names]
            chain += [base for base in bases if base is not None and base.name not in seen]
    return chain


def component_of(preset: PresetFile, folders: Sequence[Path]) -> str:
    """Returns the component that a preset sets the fields of; empty if it cannot be told."""
    known = registries()[preset.group].names()
    names = [
        name
        for each in lineage(preset, folders)
        for entry in each.entries
        for name in entry.names
        if name in known
    ]
    return names[0] if names else ""


def all_values(preset: PresetFile, folders: Sequence[Path]) -> dict[str, Any]:
    """Returns what a preset sets, with what those set that it is based on."""
    values: dict[str, Any] = {}
    for each in reversed(lineage(preset, folders)):
        values |= each.values
    return values


def _read(group: str, path: Path) -> PresetFile:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    return PresetFile(group, path.stem, path, _header(text), content)


def _header(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.splitlines()]
    comments = takewhile(lambda line: not line or line.startswith("#"), lines)
    return tuple(line.lstrip("# ") for line in comments if line)


def _entry(item: object) -> DefaultsEntry | None:
    if isinstance(item, str) and item != "_self_":
        return DefaultsEntry(item, False, item.startswith("/"), "", (item.lstrip("/"),))
    if not isinstance(item, dict) or not item:
        return None
    key, value = next(iter(item.items()))
    words = str(key).split() or [""]
    return DefaultsEntry(
        text=f"{key}: {value}",
        is_override="override" in words[:-1],
        is_absolute=words[-1].startswith("/"),
        group=words[-1].lstrip("/").partition("@")[0],
        names=tuple(texts(value)),
    )
