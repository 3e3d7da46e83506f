"""What a configuration file must not make Hydra do: run code, open files, read the environment."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import omegaconf
import yaml  # type: ignore[import-untyped] # it ships no types
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from seqtrain.errors import ConfigError

MAX_BYTES = 2**20
"""Largest YAML file."""
MAX_VALUES = 20_000
"""Most values of a YAML file, its aliases written out."""

_TARGETS = re.compile(r"(hydra\._internal\.core_plugins|hydra_plugins|optuna\.samplers)\.[\w.]+")
"""What Hydra may make: launchers, sweepers and their samplers, of installed packages."""

# From OmegaConf 2.4 on, the name that meant an older interface before is that of this one.
_register: Any = (
    OmegaConf.register_new_resolver
    if omegaconf.__version__.startswith(("2.2.", "2.3."))
    else OmegaConf.register_resolver
)


def require_data_only(composed: DictConfig) -> None:
    """Refuses settings of Hydra by which a file would run code, write files or set variables.

    Args:
        composed: With the section `hydra`, nothing resolved.

    Raises:
        ConfigError: Names the key.
    """
    settings = OmegaConf.to_container(composed.hydra, resolve=False)
    if not isinstance(settings, dict):
        raise ConfigError("hydra: not a section.")
    _refuse_if(settings.get("callbacks"), "hydra.callbacks", "callback=[NAME] of a plug-in")
    _refuse_if(settings.get("job", {}).get("env_set"), "hydra.job.env_set", "the environment")
    for name in ("job_logging", "hydra_logging"):
        for part in ("handlers", "formatters", "filters", "loggers"):
            found = (settings.get(name) or {}).get(part)
            _refuse_if(found, f"hydra.{name}.{part}", "log_writer=[NAME]")
    for key, target in _targets(settings, "hydra"):
        if not isinstance(target, str) or not _TARGETS.fullmatch(target):
            raise ConfigError(f"{key}={target!r} is refused: a configuration names no code to run.")


def require_readable(folder: Path) -> None:
    """Refuses YAML files that are too large, or become so when their aliases are written out.

    Args:
        folder: Of presets of the user's.

    Raises:
        ConfigError: Names the file. What is no YAML at all is left for Hydra to tell.
    """
    for path in sorted(folder.rglob("*.yaml")):
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: more than {MAX_BYTES} bytes.")
        data = path.read_bytes()
        if b"&" not in data:
            continue
        try:
            left = _without(yaml.safe_load(data), MAX_VALUES, 0)
        except (yaml.YAMLError, ValueError, RecursionError):
            continue
        if left < 0:
            raise ConfigError(
                f"{path}: more than {MAX_VALUES} values, or a list that holds itself, once its "
                "aliases are written out. Write it without them."
            )


@contextmanager
def environment_hidden() -> Iterator[None]:
    """Refuses `${oc.env:NAME}`: the value would be written into the run's checkpoints."""
    _register("oc.env", _refuse_environment, replace=True)
    try:
        yield
    finally:
        _register("oc.env", oc.env, replace=True)


def _refuse_environment(name: str, *_: object) -> str:
    raise ConfigError(
        f"${{oc.env:{name}}} is refused: what is secret there would be written into the run. "
        f'Write key="${name}" on the command line'
    )


def _refuse_if(value: object, key: str, instead: str) -> None:
    if value:
        raise ConfigError(f"{key} is refused: a configuration is data. Use {instead} instead.")


def _targets(value: object, key: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in ("_target_", "()"):
                yield f"{key}.{name}", item
            yield from _targets(item, f"{key}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _targets(item, f"{key}[{index}]")


def _without(value: Any, left: int, depth: int) -> int:
    """Returns how many values may still come after these; negative if there were too many."""
    left = left - 1 if depth < 64 else -1
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        if left < 0:
            break
        left = _without(item, left, depth + 1)
    return left
