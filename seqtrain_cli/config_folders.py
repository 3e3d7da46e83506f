"""Where presets and experiments lie: those of the project, of plug-ins, and of the user."""

from collections.abc import Sequence
from pathlib import Path

from seqtrain.errors import ConfigError, MachineError
from seqtrain.plugins import config_dirs
from seqtrain.registry import registries
from seqtrain_cli.arguments import Arguments, texts
from seqtrain_cli.schemas import STORED_COMMANDS

EXPERIMENT = "experiment"
"""The group of whole runs."""
OWN_FOLDER = "config"
"""Folder of the user's presets in the working directory, which needs no --config-dir."""


def find_config_dir() -> Path:
    """Returns the folder of presets: in an installed package, else in the checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "config", here.parent / "config"):
        if (folder / "train.yaml").is_file():
            return folder
    raise MachineError(f"The presets are missing: no config/train.yaml in {here} or {here.parent}.")


def groups() -> set[str]:
    """Returns the folders that a folder of presets may have: the kinds, and that of whole runs."""
    return {EXPERIMENT, *registries()}


def own_folders() -> list[Path]:
    """Returns ./config of the working directory, if it holds presets or experiments; else nothing.

    Not the project's own folder, nor that of another program, by the files it holds: one with the
    name of a command would be read in that command's place.
    """
    folder = Path.cwd() / OWN_FOLDER
    if not any((folder / kind).is_dir() for kind in groups()):
        return []
    is_foreign = any((folder / f"{name}.yaml").exists() for name in STORED_COMMANDS)
    return [] if is_foreign or folder.resolve() == find_config_dir().resolve() else [folder]


def named_folders(arguments: Arguments) -> list[Path]:
    """Returns the folders that the command line names, by `--config-dir` and `hydra.searchpath`."""
    entries = texts(arguments.value_of("hydra.searchpath"))
    paths = [entry.removeprefix("file://") for entry in entries]
    plain = [path for path in paths if "://" not in path]
    return [Path(path) for path in (*arguments.config_dirs, *plain)]


def config_folders(arguments: Arguments) -> list[Path]:
    """Returns all folders of presets, in the order in which Hydra looks into them."""
    return [find_config_dir(), *config_dirs(), *own_folders(), *named_folders(arguments)]


def find_file(group: str, name: str, folders: Sequence[Path]) -> Path | None:
    """Returns the file of a preset (group "model"), or of an experiment; None without one."""
    return next(iter(_files(group, name, folders)), None)


def require_one_of_each(arguments: Arguments, folders: Sequence[Path]) -> None:
    """Refuses a choice that could mean two things, since Hydra takes the first without a word.

    Args:
        arguments: The command line.
        folders: All folders of presets.

    Raises:
        ConfigError: Names both.
    """
    for parsed in arguments.parsed():
        group = parsed.key_or_group
        if group not in groups() or parsed.is_sweep_override():
            continue
        for name in texts(parsed.value()):
            require_one(group, name, folders)


def require_one(group: str, name: str, folders: Sequence[Path]) -> None:
    """Refuses a name that two different files have, or a file and a component."""
    files = _files(group, name, folders)
    others = [file for file in files[1:] if file.read_bytes() != files[0].read_bytes()]
    if others:
        raise ConfigError(
            f"{group}={name} could mean {_shown(files[0])} or {_shown(others[-1])}. Rename one of "
            "them."
        )
    if files and group in registries() and name in registries()[group].names():
        raise ConfigError(
            f"{group}={name} could mean the component or {_shown(files[0])}. Rename the file."
        )


def _files(group: str, name: str, folders: Sequence[Path]) -> list[Path]:
    paths = [folder / group / f"{name.removesuffix('.yaml')}.yaml" for folder in folders]
    return list({path.resolve(): path for path in paths if path.is_file()}.values())


def _shown(path: Path) -> str:
    """Returns a path from the working directory, where it lies below."""
    whole = path.resolve()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)
