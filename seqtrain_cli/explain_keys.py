"""Says of a key that there is not what was probably meant."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence

from omegaconf import DictConfig, OmegaConf

from seqtrain.registry import registries


def unknown_key(key: str, config: DictConfig) -> str:
    """Says that a key does not exist, which come near, and which there are.

    Args:
        key: As it was written, with its section.
        config: What the same command composes without it.
    """
    section, _, name = key.rpartition(".")
    kept = _existing(section, config)
    if kept and is_leaf(config, kept):
        value = OmegaConf.select(config, kept)
        hint = _did_you_mean(_in_another_section(key, kept, config))
        return f"There is no key {key!r}: {kept} is one value, as in {kept}={value}.{hint}"
    siblings = [each for each in _keys(config, leaves=False) if each.rpartition(".")[0] == kept]
    known = ", ".join(sorted(sibling.rpartition(".")[2] for sibling in siblings))
    place = f"in {kept}" if kept else "at the top"
    if kept != section:
        hint = _did_you_mean(_in_another_section(key, kept, config))
        missing = "" if kept else f", and no section {section.partition('.')[0]!r}"
    elif others := [f"{section}={component}" for component in _components_with(section, name)]:
        hint, missing = f" It belongs to {', '.join(others)}.", ""
    else:
        hint, missing = _did_you_mean(nearest_keys(key, config, siblings)), ""
    return f"There is no key {key!r}{missing}.{hint} Known {place}: {known}."


def nearest_keys(key: str, config: DictConfig, siblings: Sequence[str]) -> list[str]:
    """Returns at most three keys: alike beside it, of the same name elsewhere, alike anywhere."""
    section, _, name = key.rpartition(".")
    prefix = f"{section}." if section else ""
    names = [sibling.removeprefix(prefix) for sibling in siblings]
    if alike := difflib.get_close_matches(name, names, n=1, cutoff=0.75):
        return [prefix + alike[0]]
    leaves = list(_keys(config, leaves=True))
    found = _of_that_name(key, leaves)
    if not found and (alike := difflib.get_close_matches(name, names, n=1)):
        found = [prefix + alike[0]]
    return (found or difflib.get_close_matches(key, leaves, n=1, cutoff=0.7))[:3]


def has_key(config: DictConfig, key: str) -> bool:
    """Says whether there is a key, of a section or of a value."""
    return key in _keys(config, leaves=False)


def is_leaf(config: DictConfig, key: str) -> bool:
    """Says whether a key holds one value, and not further keys."""
    return key in _keys(config, leaves=True)


def _in_another_section(key: str, kept: str, config: DictConfig) -> list[str]:
    """Returns keys that could be meant where the section of a key does not exist."""
    section, _, name = key.rpartition(".")
    leaves = list(_keys(config, leaves=True))
    sections = {leaf.rpartition(".")[0] for leaf in leaves} - {""}
    for alike in difflib.get_close_matches(section, sorted(sections), n=1, cutoff=0.75):
        inside = [leaf for leaf in leaves if leaf.rpartition(".")[0] == alike]
        return nearest_keys(f"{alike}.{name}", config, inside) or [alike]
    beside = f"{kept.rpartition('.')[0]}.{name}"
    if kept and beside in leaves:
        return [beside]
    if f"{kept}_options" in _keys(config, leaves=False):
        return [f"{kept}_options.{name}"]
    if found := _of_that_name(key, leaves):
        return found[:3]
    return [leaf for leaf in leaves if leaf.rpartition(".")[2] == section][:1]


def _of_that_name(key: str, leaves: Sequence[str]) -> list[str]:
    """Returns the leaves whose own name is that of the key, or has it as a part."""
    name, top = key.rpartition(".")[2], key.partition(".")[0]
    same = [leaf for leaf in leaves if leaf.rpartition(".")[2] == name]
    same = same or [leaf for leaf in leaves if name in leaf.rpartition(".")[2].split("_")]
    return [leaf for leaf in same if leaf.startswith(f"{top}.")] or same


def _did_you_mean(near: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _existing(section: str, config: DictConfig) -> str:
    """Returns the part of a section's key that exists."""
    keys = set(_keys(config, leaves=False))
    while section and section not in keys:
        section = section.rpartition(".")[0]
    return section


def _keys(config: DictConfig, leaves: bool, prefix: str = "") -> Iterator[str]:
    for name in map(str, config):
        node = None if OmegaConf.is_missing(config, name) else config._get_node(name)
        is_section = isinstance(node, DictConfig) and not node._is_none()
        if not (leaves and is_section):
            yield f"{prefix}{name}"
        if isinstance(node, DictConfig) and is_section:
            yield from _keys(node, leaves, f"{prefix}{name}.")


def _components_with(kind: str, field_name: str) -> list[str]:
    registry = registries().get(kind)
    if registry is None or registry.many:
        return []
    return [
        name
        for name in registry.names()
        if field_name in {spec.name for spec in dataclasses.fields(registry.get(name).config)}
    ]
