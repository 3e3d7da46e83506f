"""Finds the plug-ins that a command line means, before Hydra composes."""

import os
import shlex

from seqtrain.errors import ConfigError
from seqtrain.plugins import load_plugins
from seqtrain_cli.arguments import Arguments, parse_override, texts
from seqtrain_cli.config_folders import EXPERIMENT, config_folders, require_one
from seqtrain_cli.presets import lineage, read_preset

PLUGINS_VARIABLE = "SEQTRAIN_PLUGINS"


def load_named_plugins(arguments: Arguments) -> list[str]:
    """Imports the plug-ins of the environment, the command line and the named experiments.

    Args:
        arguments: The command line, or what is typed so far where the shell asks to complete it.

    Returns:
        The names that were asked for, without repetitions, installed ones not among them.
    """
    if arguments.is_completion:
        arguments = _typed_so_far(os.environ.get("COMP_LINE", ""))
    names = [name for name in os.environ.get(PLUGINS_VARIABLE, "").split(",") if name]
    names += texts(arguments.value_of("plugins"))
    load_plugins(list(dict.fromkeys(names)))
    for name in texts(arguments.value_of(EXPERIMENT)):
        folders = config_folders(arguments)
        require_one(EXPERIMENT, name, folders)
        experiment = read_preset(EXPERIMENT, name, folders)  # a missing one is Hydra's to tell
        files = lineage(experiment, folders) if experiment else []
        more = [plugin for file in files for plugin in texts(file.values.get("plugins"))]
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
