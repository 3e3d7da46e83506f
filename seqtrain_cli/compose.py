"""From a command line to a composed configuration: plug-ins first, then Hydra, then the command."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqtrain.errors import ConfigError, MachineError, SeqtrainError
from seqtrain.plugins import config_dirs, load_plugins
from seqtrain_cli.arguments import Arguments, normalise, split_arguments
from seqtrain_cli.command import Command
from seqtrain_cli.explain import explain
from seqtrain_cli.hydra_limits import (
    environment_hidden,
    require_data_only,
    require_readable,
)
from seqtrain_cli.plugin_scan import load_named_plugins, search_path
from seqtrain_cli.schemas import keys_of_type, store_schemas


class PluginConfigDirs(SearchPathPlugin):
    """Adds the folders of presets that plug-ins registered."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra."""
        for directory in config_dirs():
            search_path.append(provider="seqtrain-plugin", path=f"file://{directory}")


def compose_and_run(command: Command, words: Sequence[str]) -> None:
    """Composes a command's configuration and runs the command with it, as plain values.

    Hydra's own modes work too: --cfg, --info, --shell-completion, and --multirun, where the
    number of the job is appended to run_dir.

    Raises:
        ConfigError: The words do not make a configuration; says what to write instead.
    """
    arguments = prepare(words)
    # Hydra then raises its errors as they are, for us to explain, and hides no frames.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    is_running = False
    failure: list[Exception] = []
    own_process = os.getpid()

    def job(config: DictConfig) -> float | None:
        nonlocal is_running
        try:
            container = _container_here(config, own_process)
            is_running = True
            return command.run(container)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:  # a sweeper decides
                raise
            failure.append(error)  # Hydra would print a line of its own
            return None

    entry = hydra.main(
        config_path=str(find_config_dir()), config_name=command.name, **_version_base()
    )(job)
    words = [command.program, *arguments.options, *arguments.overrides]
    with _command_line(words), environment_hidden():
        try:
            _require_data_only(command.name, arguments)
            entry()
            if failure:
                raise failure[0]
        except (HydraException, OmegaConfBaseException) as error:
            if is_running:  # not about the command line
                raise
            reason = explain(error, arguments.overrides, _Composer(command.name, arguments))
            raise ConfigError(reason) from error
        except (SeqtrainError, BrokenPipeError):
            raise
        except Exception as error:
            if is_running:
                raise
            text = " ".join(str(error).split())[:500]
            raise ConfigError(f"These settings cannot be read: {text}") from error


def prepare(words: Sequence[str]) -> Arguments:
    """Takes a command line apart, imports its plug-ins and returns it as Hydra wants it."""
    arguments = split_arguments(words)
    Plugins.instance().register(PluginConfigDirs)
    if arguments.is_completion:
        load_named_plugins(arguments, find_config_dir())
        store_schemas()
        return arguments
    arguments = normalise(arguments, {"plugins"})
    plugins = load_named_plugins(arguments, find_config_dir())
    store_schemas()
    if plugins:
        _require_modules(plugins, arguments)
        arguments = arguments.with_value("plugins", plugins)
    chosen = arguments.chosen()
    return normalise(arguments, keys_of_type(list, chosen), keys_of_type(dict, chosen))


def to_container(config: DictConfig) -> dict[str, Any]:
    """Returns plain nested values; what was not chosen is left out."""
    chosen = [str(key) for key in config if not OmegaConf.is_missing(config, key)]
    container: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment] # it is a mapping
        OmegaConf.masked_copy(config, chosen), resolve=True
    )
    settings = HydraConfig.get()
    if settings.mode == RunMode.MULTIRUN and "run_dir" in container:
        container["run_dir"] = f"{container['run_dir']}/{settings.job.num}"
    return container


def _container_here(config: DictConfig, preparing_process: int) -> dict[str, Any]:
    """Returns the values; in the task of a cluster, which has prepared nothing, prepares that."""
    if os.getpid() == preparing_process:
        return to_container(config)
    with environment_hidden():
        container = to_container(config)
    load_plugins(container.get("plugins", []))
    return container


def find_config_dir() -> Path:
    """Returns the folder of presets: in an installed package, else in the checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "config", here.parent / "config"):
        if (folder / "train.yaml").is_file():
            return folder
    raise MachineError(f"The presets are missing: no config/train.yaml in {here} or {here.parent}.")


def _require_modules(plugins: Sequence[str], arguments: Arguments) -> None:
    """Refuses plug-ins that a task of a cluster could not import by their name."""
    launcher = str(arguments.value_of("hydra/launcher") or "")
    files = [name for name in plugins if name.endswith(".py") or "/" in name]
    if launcher.startswith("submitit") and files:
        raise ConfigError(
            f"hydra/launcher={launcher} cannot send the plug-in {files[0]} to its tasks: name a "
            "module that they can import, as plugins=[my_plugin] for my_plugin.py in the working "
            "folder."
        )


def _require_data_only(name: str, arguments: Arguments) -> None:
    """Looks at files of the user's, and at settings of Hydra, before Hydra acts on them."""
    folders = [Path(folder) for folder in arguments.config_dirs]
    folders += search_path(arguments)
    for folder in folders:
        require_readable(folder)
    keys = [parsed.key_or_group for parsed in arguments.parsed()]
    if folders or any(key.partition(".")[0].partition("/")[0] == "hydra" for key in keys):
        for overrides in _one_at_a_time(arguments):
            require_data_only(_Composer(name, arguments)(overrides, with_hydra=True))


def _one_at_a_time(arguments: Arguments) -> Iterator[list[str]]:
    """Yields overrides without sweeps, then with one choice of one sweep after the other."""
    sweeps = [parsed for parsed in arguments.parsed() if parsed.is_sweep_override()]
    lines = {parsed.input_line for parsed in sweeps}
    plain = [override for override in arguments.overrides if override not in lines]
    yield plain
    for sweep in sweeps:
        if sweep.is_interval_sweep():  # of numbers, which name nothing
            continue
        for choice in sweep.sweep_string_iterator():
            yield [*plain, f"{sweep.get_key_element()}={choice}"]


class _Composer:
    """Composes the same command with other overrides, to find out what there is."""

    def __init__(self, name: str, arguments: Arguments) -> None:
        self.name = name
        folders = ",".join(f"file://{Path(d).resolve()}" for d in arguments.config_dirs)
        self.fixed = [f"hydra.searchpath=[{folders}]"] if folders else []

    def __call__(self, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
        with hydra.initialize_config_dir(str(find_config_dir()), **_version_base()):
            return hydra.compose(
                self.name, [*self.fixed, *overrides], return_hydra_config=with_hydra
            )


def _version_base() -> dict[str, Any]:
    """Hydra 1.4 warns where version_base is given, and 1.3 where it is not."""
    major, minor = (int(part) for part in hydra.__version__.split(".")[:2])
    return {"version_base": "1.3"} if (major, minor) < (1, 4) else {}


@contextmanager
def _command_line(words: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv."""
    before = sys.argv
    sys.argv = words
    try:
        yield
    finally:
        sys.argv = before
