"""Finds the plug-ins that a command line means, before Hydra composes."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # it ships no types

from seqtrain.errors import ConfigError
from seqtrain.plugins import config_dirs, load_plugins
from seqtrain_cli.arguments import Arguments, parse_override

PLUGINS_VARIABLE = "SEQTRAIN_PLUGINS"


def load_named_plugins(arguments: Arguments, config_dir: Path) -> list[str]:
    """Imports the plug-ins of the environment, the command line and the named experiments.

    Args:
        arguments: The command line, or what is typed so far where the shell asks to complete it.
        config_dir: Folder of the presets.

    Returns:
        The names that were asked for, without repetitions, installed ones not among them.
    """
    if arguments.is_completion:
        arguments = _typed_so_far(os.environ.get("COMP_LINE", ""))
    names = [name for name in os.environ.get(PLUGINS_VARIABLE, "").split(",") if name]
    names += _texts(arguments.value_of("plugins"))
    load_plugins(list(dict.fromkeys(names)))
    folders = [config_dir, *map(Path, arguments.config_dirs), *search_path(arguments)]
    for experiment in _texts(arguments.value_of("experiment")):
        more = _plugins_of(experiment, [*folders, *config_dirs()])
        load_plugins(more)
        names += more
    return list(dict.fromkeys(names))


def _typed_so_far(line: str) -> Arguments:
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # an open quote
        words = line.split()[1:]
    complete = []
    for word in words:
        if "=" in word and not word.startswith("-"):
            try:
                parse_override(word)
            except ConfigError:
                continue
            complete.append(word)
    return Arguments([], complete)


def _texts(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [str(item) for item in items if item is not None]


def search_path(arguments: Arguments) -> list[Path]:
    """Returns the folders that `hydra.searchpath` names."""
    entries = _texts(arguments.value_of("hydra.searchpath"))
    folders = [entry.removeprefix("file://") for entry in entries]
    return [Path(folder) for folder in folders if "://" not in folder]


def _plugins_of(experiment: str, folders: Iterable[Path]) -> list[str]:
    """Returns the top-level `plugins:` of an experiment file; a missing file is Hydra's to tell."""
    for folder in folders:
        path = folder / "experiment" / f"{experiment}.yaml"
        if path.is_file():
            return _texts(_read_yaml(path).get("plugins"))
    return []


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    return content if isinstance(content, dict) else {}
