"""The pages of seqtrain-info on presets and experiments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqtrain.errors import ConfigError, UnknownNameError
from seqtrain.registry import registries
from seqtrain_cli.config_folders import EXPERIMENT
from seqtrain_cli.described_fields import DescribedField, described_fields
from seqtrain_cli.explain_files import fault_in
from seqtrain_cli.presets import (
    PresetFile,
    all_values,
    component_of,
    lineage,
    preset_paths,
    read_preset,
)


def field_lines(fields: Iterator[DescribedField]) -> Iterator[str]:
    """Yields fields with their values and what they mean."""
    for field in fields:
        yield f"  {field.key}: {field.type} = {field.default}"
        yield from (f"      {line}" for line in field.help.splitlines())


def preset_names(group: str, folders: Sequence[Path]) -> str:
    """Returns the names of the presets of a kind, or of the experiments, after one another."""
    return ", ".join(preset_paths(group, folders))


def preset_lines(group: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yields a line for each preset of a kind, or for each experiment."""
    for name in preset_paths(group, folders):
        try:
            preset = read_preset(group, name, folders)
        except ConfigError as error:
            yield f"{name:28} not usable: {error}"
            continue
        if preset is not None:
            of = (
                "" if group == EXPERIMENT else f"preset of {component_of(preset, folders) or '?'}: "
            )
            yield f"{name:28} {of}{preset.note}"


def preset_page(group: str, name: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yields what a preset or an experiment sets, and where it is written.

    Raises:
        UnknownNameError: There is neither a preset nor a component of that name.
    """
    preset = read_preset(group, name, folders)
    if preset is None and group != EXPERIMENT:
        registries()[group].get(name)  # tells what there is
    if preset is None:
        raise UnknownNameError(
            f"There is no {group} named {name!r}. Known: {preset_names(group, folders)}. Your own "
            f"lie in ./config/{group}, or in FOLDER/{group} with --config-dir FOLDER."
        )
    yield f"{name}: {preset.note}" if preset.note else name
    for file in lineage(preset, folders):
        yield f"file {file.path}"
    fault = fault_in(preset)
    if fault is None and group != EXPERIMENT and not component_of(preset, folders):
        fault = "it must begin with `defaults: [NAME, _self_]`, where NAME is a component."
    if fault:
        yield f"not usable: {fault}"
    elif group == EXPERIMENT:
        yield from _experiment(preset, folders)
    else:
        yield from _preset(preset, folders)


def _preset(preset: PresetFile, folders: Sequence[Path]) -> Iterator[str]:
    component, values = component_of(preset, folders), all_values(preset, folders)
    yield f"sets these fields of {preset.group}={component}:"
    config = registries()[preset.group].get(component).config
    given = dict(_flat(values))
    fields = [field for field in described_fields(config(name=component)) if field.key in given]
    yield from field_lines(replace(f, default=repr(given[f.key])) for f in fields)


def _experiment(preset: PresetFile, folders: Sequence[Path]) -> Iterator[str]:
    chosen: dict[str, str] = {}
    for file in lineage(preset, folders):
        for entry in file.entries:
            if entry.group in registries():
                chosen.setdefault(entry.group, f"{entry.group}={','.join(entry.names)}")
    yield f"chooses {' '.join(chosen.values())}" if chosen else "chooses no components"
    yield "sets:"
    values: dict[str, Any] = {}
    for file in reversed(lineage(preset, folders)):
        values |= dict(_flat(file.values))
    yield from _plain(values)


def _plain(values: Mapping[str, Any]) -> Iterator[str]:
    return (f"  {key} = {value!r}" for key, value in _flat(values))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
