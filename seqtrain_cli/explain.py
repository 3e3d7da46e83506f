"""Says in one line what is wrong with a command line that Hydra could not compose."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from seqtrain.config_schema import field_help, unknown_key_message
from seqtrain.errors import ConfigError, SeqtrainError
from seqtrain.registry import registries
from seqtrain_cli.arguments import explain_grammar, parse_override
from seqtrain_cli.config_folders import EXPERIMENT, groups
from seqtrain_cli.explain_files import choices_in, chosen_files, fault_in, misplaced_choice
from seqtrain_cli.explain_keys import has_key, is_leaf, unknown_key
from seqtrain_cli.presets import PresetFile


class Compose(Protocol):
    """Composes a command with some overrides."""

    def __call__(self, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
        """Returns the configuration, with Hydra's own section if asked to."""


class Explainer:
    """Finds out what was probably meant.

    Args:
        overrides: The overrides of the command line.
        compose: Composes the same command with other overrides.
        folders: All folders of presets.
    """

    def __init__(self, overrides: Sequence[str], compose: Compose, folders: Sequence[Path]) -> None:
        self.overrides = overrides
        self.compose = compose
        self.folders = folders

    def explain(self, error: Exception) -> str:
        """Returns what is wrong and what was probably meant, in one line.

        Args:
            error: What Hydra or OmegaConf raised.
        """
        if isinstance(error, OverrideParseException):
            return explain_grammar(error.override)
        files = chosen_files(self.overrides, self.folders)
        if faults := [fault for fault in map(fault_in, files) if fault]:
            return faults[0]
        if isinstance(error, MissingConfigException) and error.missing_cfg_file:
            return self._unknown_choice(error, files)
        text = str(error)
        if match := re.match(r"In '([^']+)': \w+ raised while composing config", text):
            return self._wrong_in_file(match[1], error, files)
        if match := re.match(r"Could not (?:override|append to config)[^']*'([^']+)'", text):
            return self._unknown_key(match[1], error)
        if match := re.match(r"Error merging override (.+)", text):
            return self._wrong_value(match[1], error)
        if match := re.match(r"Ambiguous value for argument '(.+)'", text):
            key, _, value = match[1].partition("=")
            return (
                f"{match[1]!r} holds a comma. Quote the value, twice for the shell: "
                f"""'{key}="{value}"'; a list is {key}=[{value}]; a sweep over values needs -m."""
            )
        if isinstance(error, HydraException | OmegaConfBaseException):
            return _one_line(error)
        return f"These settings cannot be read: {' '.join(text.split())[:500]}"

    def _unknown_choice(self, error: MissingConfigException, files: Sequence[PresetFile]) -> str:
        kind, _, name = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
        kind = kind.lstrip("/")
        if kind.startswith(f"{EXPERIMENT}/") or name.startswith("."):
            return _path_as_name(f"{kind.partition('/')[2]}/{name}")
        options = sorted(error.options or [])
        asking = [file.path for file in files if file.chooses(kind, name)]
        inside = f" ({asking[0]} asks for it)" if asking else ""
        near = difflib.get_close_matches(name, options, n=2)
        words = " or ".join(f"{kind}={option}" for option in near)
        hint = f" Did you mean {words}?" if near else ""
        own = (
            f" Your own lie in ./config/{kind}, or in FOLDER/{kind} with --config-dir FOLDER."
            if kind == EXPERIMENT
            else ""
        )
        known = ", ".join(options) or "none"
        return (
            f"There is no {kind} named {name!r}{inside}.{hint} Known: {known}. "
            f"A plug-in's are known once plugins=[...] names it.{own}"
        )

    def _wrong_in_file(self, place: str, error: Exception, files: Sequence[PresetFile]) -> str:
        """Explains what Hydra says of a key or a value in a file, by its place in a folder."""
        cause = error.__context__
        key = str(getattr(cause, "full_key", "") or "")
        paths = [f"{file.group}/{file.name}" for file in files]
        name = place.removesuffix(".yaml")
        if not isinstance(cause, OmegaConfBaseException) or not key or name not in paths:
            return _one_line(error)
        file = files[paths.index(name)]
        if misplaced := misplaced_choice(file, key.partition(".")[0]):
            return misplaced
        config = self._without(EXPERIMENT, choices_in(files, self.folders))
        if isinstance(cause, ConfigKeyError | ConfigAttributeError):
            return f"{file.path}: {unknown_key(key, config)}"
        return f"{file.path}: {key}: {_first_line(cause)}{_help(key, config)}"

    def _unknown_key(self, key: str, error: Exception) -> str:
        config = self._without(key)
        schema = getattr(error.__cause__, "object_type", None)
        if has_key(config, key) and dataclasses.is_dataclass(schema):
            name = str(getattr(error.__cause__, "key", ""))
            known = [field.name for field in dataclasses.fields(schema)]
            return f"{key}: {unknown_key_message(name, name, known)}"
        return unknown_key(key, config)

    def _wrong_value(self, override: str, error: Exception) -> str:
        reason = _first_line(error.__cause__ or error)
        try:
            parsed = parse_override(override)
        except ConfigError:
            return f"{override}: {reason}"
        key = parsed.key_or_group
        if registry := registries().get(key):
            known = ", ".join(registry.names()) or "none"
            return f"{override}: {reason} Known names of a {registry.kind}: {known}."
        config = self._without(key)
        section = key.rpartition(".")[0]
        if section and is_leaf(config, section):
            return unknown_key(key, config)
        return f"{override}: {reason}{_help(key, config)}"

    def _without(self, key: str, choices: Sequence[str] = ()) -> DictConfig:
        """Composes with the choices of components alone, since other overrides may be wrong too.

        Args:
            key: A choice to leave out.
            choices: Further ones, over which those of the command line win.
        """
        kinds = groups() - {key}
        chosen = [
            override
            for override in self.overrides
            if parse_override(override).key_or_group in kinds
            and not parse_override(override).is_sweep_override()
        ]
        for attempt in ([*choices, *chosen], chosen, []):
            try:
                return self.compose(attempt, with_hydra=key.startswith("hydra."))
            except Exception as error:  # any further mistake is told in its turn
                if isinstance(error, SeqtrainError):
                    raise
        return DictConfig({})


def _path_as_name(path: str) -> str:
    """Says how to name an experiment's file that was given by its path."""
    file = Path(f"{path}.yaml")
    folder, name = file.parent, file.stem
    if folder.name != EXPERIMENT:
        return (
            f"{EXPERIMENT} is a name, not a path: put the file into config/{EXPERIMENT}/ here, or "
            f"into FOLDER/{EXPERIMENT}/ with --config-dir FOLDER, and write {EXPERIMENT}={name}."
        )
    option = "" if str(folder.parent) == "config" else f"--config-dir {folder.parent} "
    return f"{EXPERIMENT} is a name, not a path. Write {option}{EXPERIMENT}={name}."


def _help(key: str, config: DictConfig) -> str:
    """Returns the meaning of a key, to be put behind what is wrong with its value."""
    section, _, name = key.rpartition(".")
    node = OmegaConf.select(config, section) if section else config
    schema = OmegaConf.get_type(node) if node is not None else None
    described = field_help(schema).get(name, "") if schema else ""  # type: ignore[arg-type] # a class is hashable
    text = " ".join(described.split())
    return f" {key}: {text}" if text else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0].rstrip(".") + "."


def _one_line(error: BaseException) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
    if isinstance(error, OmegaConfBaseException):  # what follows are OmegaConf's internals
        key = f"{error.full_key!s}: " if error.full_key else ""
        return f"{key}{lines[0] if lines else type(error).__name__}."
    return "; ".join(line for line in lines if line) + "."
