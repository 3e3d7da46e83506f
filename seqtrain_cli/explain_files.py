"""Says in one line what is wrong with an experiment or a preset that the user wrote."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seqtrain.registry import registries
from seqtrain_cli.arguments import parse_override, texts
from seqtrain_cli.config_folders import EXPERIMENT, groups
from seqtrain_cli.described_fields import run_sections
from seqtrain_cli.presets import (
    DefaultsEntry,
    PresetFile,
    component_of,
    lineage,
    read_preset,
)


def chosen_files(overrides: Sequence[str], folders: Sequence[Path]) -> list[PresetFile]:
    """Returns the files that a command line chooses, and those that they choose in turn."""
    asked: list[tuple[str, str]] = []
    for override in overrides:
        parsed = parse_override(override)
        if parsed.key_or_group in groups() and not parsed.is_sweep_override():
            asked += [(parsed.key_or_group, name) for name in texts(parsed.value())]
    found: dict[Path, PresetFile] = {}
    for group, name in asked:  # grows as it is walked
        preset = read_preset(group, name, folders)
        if preset is None or preset.path in found:
            continue
        for each in lineage(preset, folders):
            found[each.path] = each
            choices = [entry for entry in each.entries if entry.group in registries()]
            asked += [(entry.group, choice) for entry in choices for choice in entry.names]
    return list(found.values())


def choices_in(files: Sequence[PresetFile], folders: Sequence[Path]) -> list[str]:
    """Returns the components that files choose, as overrides of a command line."""
    choices: dict[str, str] = {}
    for file in files:  # what is nearest to the command line comes first
        for entry in file.entries:
            if entry.group in registries() and entry.names:
                choice = f"{entry.group}={_value(entry.group, ','.join(entry.names))}"
                choices.setdefault(entry.group, choice)
        if file.group != EXPERIMENT and (component := component_of(file, folders)):
            choices[file.group] = f"{file.group}={component}"
    return list(choices.values())


def fault_in(file: PresetFile) -> str | None:
    """Returns what is wrong with a file by its form, or None; its keys are not looked at."""
    return next((f"{file.path}: {fault}" for fault in _faults(file)), None)


def misplaced_choice(file: PresetFile, kind: str) -> str | None:
    """Returns how to choose a component, if a file does it by the field `name` of the section."""
    section = file.values.get(kind) if file.group == EXPERIMENT else None
    name = section.get("name") if isinstance(section, Mapping) else None
    return None if name is None else f"{file.path}: {_choose(kind, str(name))}"


def _faults(file: PresetFile) -> Iterator[str]:
    if not isinstance(file.content, dict):
        what = "is empty" if file.content is None else "holds no keys"
        yield f"the file {what}. Write sections, such as `optimization:` and below it its fields."
        return
    if file.group == EXPERIMENT and not file.is_global:
        yield (
            "the first line must be `# @package _global_`, or its settings are not those of the "
            "run."
        )
    defaults = file.content.get("defaults", [])
    if not isinstance(defaults, list):
        yield "defaults must be a list: below `defaults:` lines such as `- override /model: lstm`."
    for entry in file.entries:
        yield from _faults_of_entry(file, entry)
    for key, value in file.values.items():
        yield from _faults_of_value(file, key, value)


def _faults_of_entry(file: PresetFile, entry: DefaultsEntry) -> Iterator[str]:
    group = entry.group
    if not group or group.startswith("hydra/"):
        return
    if group not in groups():
        near = difflib.get_close_matches(group, groups(), n=1)
        hint = f" Did you mean /{near[0]}?" if near else ""
        yield f"defaults: there is no kind {group!r}.{hint} Kinds: {', '.join(sorted(groups()))}."
    elif file.group != EXPERIMENT:
        yield (
            f"defaults: a preset of a {file.group} chooses no {group}. Write that into an "
            f"{EXPERIMENT}."
        )
    elif group in registries() and not (entry.is_override and entry.is_absolute):
        right = f"override /{group}: {_value(group, ', '.join(entry.names))}"
        yield f"defaults: write `- {right}`, not `- {entry.text}`."


def _faults_of_value(file: PresetFile, key: str, value: object) -> Iterator[str]:
    section, _, rest = key.partition(".")
    if rest:
        yield (
            f"{key!r} must be nested: `{section}:` and in the next line, indented, "
            f"`{rest}: {value}`."
        )
    elif file.group != EXPERIMENT or value is None or isinstance(value, Mapping):
        return
    elif key in registries():
        yield _choose(key, ", ".join(texts(value)))
    elif key in run_sections():
        yield f"{key} is a section: write its fields in the next lines, indented, not {value!r}."


def _choose(kind: str, name: str) -> str:
    return (
        f"a {kind} is chosen below `defaults:`, by `- override /{kind}: {_value(kind, name)}`; "
        f"below `{kind}:` stand its fields."
    )


def _value(kind: str, name: str) -> str:
    return f"[{name}]" if registries()[kind].many else name
