"""The pages of seqtrain-info."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from seqtrain.checkpoint.load import read_named
from seqtrain.config_schema import unknown_key_message
from seqtrain.data.labelled.data import is_labelled_folder, open_labelled
from seqtrain.data.series.folder import is_series_folder, open_series, series_lines
from seqtrain.data.text.fairseq_data import is_fairseq_folder, open_fairseq
from seqtrain.data.text.monolingual_open import is_text_folder, open_text
from seqtrain.data.text.parallel_preprocess import open_prepared
from seqtrain.data.text.statistics import statistics_lines
from seqtrain.errors import ConfigError
from seqtrain.plugins import loaded_plugins
from seqtrain.registry import Entry, registries
from seqtrain.training.run_config import RunConfig
from seqtrain_cli.arguments import WITH_VALUE, normalise, split_arguments
from seqtrain_cli.config_folders import EXPERIMENT, config_folders, groups
from seqtrain_cli.described_fields import described_fields, run_sections
from seqtrain_cli.info_presets import field_lines, preset_lines, preset_names, preset_page
from seqtrain_cli.plugin_scan import load_named_plugins


def pages(words: Sequence[str]) -> Iterator[str]:
    """Yields the lines that a command line asks for.

    Raises:
        ConfigError: A word that is no kind, or a key that is not known.
    """
    topics, settings = _topics_and_settings(words)
    arguments = normalise(split_arguments(settings), {"plugins"})
    load_named_plugins(arguments)
    folders = config_folders(arguments)
    asked = [
        (parsed.key_or_group, str(parsed.value()))
        for parsed in arguments.parsed()
        if parsed.key_or_group not in ("plugins", "debug")
    ]
    settings_of = dict(asked)
    _check(topics, [key for key, _ in asked])
    if not topics and not asked:
        yield from _overview(folders)
    for topic in topics:
        yield from _topic(topic, folders)
    for key, value in asked:
        if key == "max_tokens":
            continue
        if key == "checkpoint":
            yield from _checkpoint(Path(value))
        elif key == "data":
            yield from _data(Path(value), settings_of.get("max_tokens", "4096"))
        elif key != EXPERIMENT and value in registries()[key].names():
            yield from _component(registries()[key].get(value))
        else:
            yield from preset_page(key, value, folders)


def _topics_and_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    topics: list[str] = []
    settings: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in WITH_VALUE:
            settings += [word, *islice(rest, 1)]
        else:
            (settings if "=" in word or word.startswith("-") else topics).append(word)
    return topics, settings


def _check(topics: Sequence[str], keys: Sequence[str]) -> None:
    kinds = groups()
    for names, known in (
        (topics, [*kinds, *run_sections(), "run", "plugins", "all"]),
        (keys, [*kinds, "checkpoint", "data", "max_tokens", "plugins", "debug"]),
    ):
        for name in names:
            if name not in known:
                of = [kind for kind, registry in registries().items() if name in registry.names()]
                hint = f" It is the name of a {of[0]}: write {of[0]}={name}." if of else ""
                message = unknown_key_message(name, name.rpartition(".")[2], known)
                raise ConfigError(message + hint)


def provider(cls: type) -> str:
    """Returns whose a component is: "built-in", or the plug-in that brings it."""
    if cls.__module__.partition(".")[0] == "seqtrain":
        return "built-in"
    source = Path(inspect.getsourcefile(cls) or "")
    for record in loaded_plugins():
        origin = Path(record.origin)
        in_package = origin.name == "__init__.py" and source.is_relative_to(origin.parent)
        if source == origin or in_package:
            return f"plug-in {record.name}"
    return f"module {cls.__module__}"


def _topic(topic: str, folders: Sequence[Path]) -> Iterator[str]:
    if topic == "plugins":
        yield from _plugins()
    elif topic == "all":
        for registry in registries().values():
            for name in registry.names():
                yield from _component(registry.get(name))
                yield ""
    elif topic == "run":
        yield from _fields(RunConfig(), top_only=True)
    elif topic in registries():
        yield from _kind(topic)
        yield from preset_lines(topic, folders)
    elif topic == EXPERIMENT:
        yield from preset_lines(topic, folders)
    else:
        yield f"{topic}: {_first_line(type(run_sections()[topic]))}"
        yield from _fields(run_sections()[topic])


def _overview(folders: Sequence[Path]) -> Iterator[str]:
    added = []
    for kind, registry in sorted(registries().items()):
        yield f"{kind:14} {', '.join(registry.names()) or '-'}"
        if presets := preset_names(kind, folders):
            yield f"{'':14} presets: {presets}"
        whose = {name: provider(registry.get(name).cls) for name in registry.names()}
        added += [f"{kind}={name} ({who})" for name, who in whose.items() if who != "built-in"]
    yield f"{EXPERIMENT:14} {preset_names(EXPERIMENT, folders)}"
    yield f"Not built in: {', '.join(added) or 'none'}"
    yield f"Sections with settings of the run: {', '.join(['run', *run_sections()])}"


def _kind(kind: str) -> Iterator[str]:
    registry = registries()[kind]
    for name in registry.names():
        cls = registry.get(name).cls
        whose = "" if provider(cls) == "built-in" else f" ({provider(cls)})"
        yield f"{name:28} {_first_line(cls)}{whose}"


def _component(entry: Entry[Any]) -> Iterator[str]:
    yield f"{entry.name}: {_first_line(entry.config)}"
    yield f"class {entry.cls.__qualname__} in {entry.origin}, {provider(entry.cls)}"
    yield from _fields(entry.config(name=entry.name))


def _fields(config: Any, top_only: bool = False) -> Iterator[str]:
    fields = described_fields(config)
    if top_only:
        kinds = registries()
        fields = (field for field in fields if "." not in field.key and field.key not in kinds)
    yield from field_lines(fields)


def _plugins() -> Iterator[str]:
    records = loaded_plugins()
    if not records:
        yield "no plug-ins are loaded"
    for record in records:
        version = f" {record.version}" if record.version else ""
        yield f"{record.name}{version}: {record.origin} (sha256 {record.sha256[:16]})"


def _checkpoint(path: Path) -> Iterator[str]:
    loaded = read_named(path, "checkpoint")
    manifest, config = loaded.manifest, loaded.parts.get("config", {})
    yield f"{loaded.path}: every file is as it was written"
    yield f"after update {manifest.num_updates}, in epoch {manifest.about.get('epoch', '?')}"
    for kind in ("task", "model", "criterion", "optimizer", "lr_scheduler"):
        section = config.get(kind) if isinstance(config, Mapping) else None
        if isinstance(section, Mapping):
            yield f"{kind} {section.get('name')}"
    model = loaded.parts.get("model", {})
    if isinstance(model, Mapping):  # tied parameters are one tensor under several names
        tensors = {id(value): value for value in model.values() if isinstance(value, Tensor)}
        yield f"{sum(tensor.numel() for tensor in tensors.values()):,} values in the model"
    yield f"written by {manifest.world_size} processes of {manifest.num_threads} threads, " + (
        ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    )
    yield f"plug-ins: {json.dumps(manifest.about.get('plugins', []))}"
    for entry in manifest.files:
        yield f"  {entry.size:>12,} bytes  {entry.name}"


def _data(path: Path, max_tokens: str) -> Iterator[str]:
    if is_series_folder(path):
        yield from series_lines(open_series(path))
        return
    if not max_tokens.isdecimal() or int(max_tokens) < 1:
        raise ConfigError(f"max_tokens must be at least 1, got {max_tokens!r}.")
    if is_text_folder(path):
        yield from statistics_lines(open_text(path), int(max_tokens))
        return
    if is_labelled_folder(path):
        yield from open_labelled(path).lines()
        return
    data = open_fairseq(path) if is_fairseq_folder(path) else open_prepared(path)
    yield from statistics_lines(data, int(max_tokens))


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]
