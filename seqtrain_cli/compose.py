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
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqtrain.errors import ConfigError, SeqtrainError
from seqtrain.plugins import config_dirs, is_path, load_plugins
from seqtrain_cli.arguments import Arguments, normalise, split_arguments
from seqtrain_cli.choices import require_typed_choices
from seqtrain_cli.command import Command
from seqtrain_cli.config_folders import (
    config_folders,
    find_config_dir,
    groups,
    named_folders,
    own_folders,
    require_one_of_each,
)
from seqtrain_cli.explain import Explainer
from seqtrain_cli.hydra_limits import (
    environment_hidden,
    require_data_only,
    require_readable,
)
from seqtrain_cli.plugin_scan import load_named_plugins
from seqtrain_cli.schemas import keys_of_type, store_schemas
from seqtrain_cli.sweep import is_sweep, options_of_trial, swept_keys, told_sweep
from seqtrain_cli.trials import run_trial


class PresetFolders(SearchPathPlugin):
    """Adds the folders of presets that plug-ins registered, and the user's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra."""
        for directory in config_dirs():
            search_path.append(provider="seqtrain-plugin", path=f"file://{directory}")
        for directory in own_folders():
            search_path.append(provider="seqtrain-own", path=f"file://{directory}")


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
            settings: Any = HydraConfig.get()
            if is_sweep(arguments) and command.check is not None:
                keys = swept_keys(arguments, settings)
                options = options_of_trial(settings.overrides.task, keys)
                return run_trial(command.run, container, settings.job.num, options)
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
            with _told(command, arguments):
                entry()
            if failure:
                raise failure[0]
        except (SeqtrainError, BrokenPipeError):
            raise
        except Exception as error:
            if is_running:  # not about the command line
                raise
            composer = _Composer(command.name, arguments)
            explainer = Explainer(arguments.overrides, composer, config_folders(arguments))
            raise ConfigError(explainer.explain(error)) from error


def prepare(words: Sequence[str]) -> Arguments:
    """Takes a command line apart, imports its plug-ins and returns it as Hydra wants it."""
    arguments = split_arguments(words)
    Plugins.instance().register(PresetFolders)
    if arguments.is_completion:
        load_named_plugins(arguments)
        store_schemas()
        return arguments
    arguments = normalise(arguments, {"plugins"})
    plugins = load_named_plugins(arguments)
    store_schemas()
    if plugins:
        _require_modules(plugins, arguments)
        arguments = arguments.with_value("plugins", plugins)
    require_one_of_each(arguments, config_folders(arguments))
    chosen = arguments.chosen()
    return normalise(arguments, keys_of_type(list, chosen), keys_of_type(dict, chosen))


@contextmanager
def _told(command: Command, arguments: Arguments) -> Iterator[None]:
    """Checks a sweep before it begins and tells its best trial at the end; else does nothing."""
    if not is_sweep(arguments) or command.check is None:
        yield
        return
    composer = _Composer(command.name, arguments)
    settings = composer(next(_one_at_a_time(arguments)), with_hydra=True).hydra
    with told_sweep(command, arguments, settings, lambda words: plain_values(composer(words))):
        yield


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Returns plain nested values; what was not chosen is left out."""
    chosen = [str(key) for key in config if not OmegaConf.is_missing(config, key)]
    return OmegaConf.to_container(  # type: ignore[return-value] # it is a mapping
        OmegaConf.masked_copy(config, chosen), resolve=True
    )


def to_container(config: DictConfig) -> dict[str, Any]:
    """Returns plain nested values; a trial of a sweep gets a folder of its own."""
    container = plain_values(config)
    settings = HydraConfig.get()
    if settings.mode == RunMode.MULTIRUN and "run_dir" in container:
        container["run_dir"] = f"{container['run_dir']}/{settings.job.num}"
    return container


def _container_here(config: DictConfig, preparing_process: int) -> dict[str, Any]:
    """Returns the values; in the task of a cluster, which has prepared nothing, prepares that."""
    if os.getpid() == preparing_process:
        container = to_container(config)
    else:
        with environment_hidden():
            container = to_container(config)
        load_plugins(container.get("plugins", []))
    require_typed_choices(config, HydraConfig.get().runtime.choices)  # of what is registered by now
    return container


def _require_modules(plugins: Sequence[str], arguments: Arguments) -> None:
    """Refuses plug-ins that a task of a cluster could not import by their name."""
    launcher = str(arguments.value_of("hydra/launcher") or "")
    files = [name for name in plugins if is_path(name)]
    if launcher.startswith("submitit") and files:
        raise ConfigError(
            f"hydra/launcher={launcher} cannot send the plug-in {files[0]} to its tasks: name a "
            "module that they can import, as plugins=[my_plugin] for my_plugin.py or the package "
            "my_plugin in the working folder."
        )


def _require_data_only(name: str, arguments: Arguments) -> None:
    """Looks at files of the user's, and at settings of Hydra, before Hydra acts on them."""
    named, own = named_folders(arguments), own_folders()
    for folder in (*named, *(own[0] / group for group in groups() if own)):
        require_readable(folder)
    if arguments.is_completion:  # composes, and acts on nothing
        return
    keys = [parsed.key_or_group for parsed in arguments.parsed()]
    if named or own or any(key.partition(".")[0].partition("/")[0] == "hydra" for key in keys):
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
