"""Says in one line what is wrong with a command line that Hydra could not compose."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqtrain.config_schema import field_help
from seqtrain.errors import ConfigError, SeqtrainError
from seqtrain.registry import registries
from seqtrain_cli.arguments import explain_grammar, parse_override

Compose = Callable[[Sequence[str]], DictConfig]


def explain(error: Exception, overrides: Sequence[str], compose: Compose) -> str:
    """Returns what is wrong and what was probably meant.

    Args:
        error: What Hydra or OmegaConf raised.
        overrides: The overrides of the command line.
        compose: Composes the same command with other overrides.
    """
    if isinstance(error, OverrideParseException):
        return explain_grammar(error.override)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error)
    text = str(error)
    if match := re.match(r"Could not (?:override|append to config)[^']*'([^']+)'", text):
        return _unknown_key(match[1], overrides, compose)
    if match := re.match(r"Error merging override (.+)", text):
        return _wrong_value(match[1], error, overrides, compose)
    if match := re.match(r"Ambiguous value for argument '(.+)'", text):
        key, _, value = match[1].partition("=")
        return (
            f"{match[1]!r} holds a comma. Quote the value, twice for the shell: "
            f"""'{key}="{value}"'; a list is {key}=[{value}]; a sweep over the values needs -m."""
        )
    return _one_line(error)


def _unknown_choice(error: MissingConfigException) -> str:
    kind, _, name = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
    kind = kind.lstrip("/")
    options = sorted(error.options or [])
    where = re.match(r"In '(experiment/[^']+)'", str(error))
    inside = f" ({where[1]} asks for it)" if where else ""
    near = difflib.get_close_matches(name, options, n=2)
    hint = f" Did you mean {' or '.join(f'{kind}={option}' for option in near)}?" if near else ""
    return (
        f"There is no {kind} named {name!r}{inside}.{hint} Known: {', '.join(options) or 'none'}. "
        "A plug-in's are known once plugins=[...] names it."
    )


def _unknown_key(key: str, overrides: Sequence[str], compose: Compose) -> str:
    config = _compose_without(key, overrides, compose)
    section, _, name = key.rpartition(".")
    siblings = [key for key in _keys(config, leaves=False) if key.rpartition(".")[0] == section]
    others = [f"{section}={component}" for component in _components_with(section, name)]
    near = [] if others else list(_nearest(key, config, siblings))
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    elsewhere = f" It belongs to {', '.join(others)}." if others else ""
    known = ", ".join(sorted(sibling.rpartition(".")[2] for sibling in siblings))
    place = f"in {section}" if section else "at the top"
    return f"There is no key {key!r}.{hint}{elsewhere} Known {place}: {known or 'nothing'}."


def _nearest(key: str, config: DictConfig, siblings: Sequence[str]) -> Iterator[str]:
    """Yields at most three keys: alike beside it, of the same name elsewhere, alike anywhere."""
    section, _, name = key.rpartition(".")
    prefix = f"{section}." if section else ""
    names = [sibling.removeprefix(prefix) for sibling in siblings]
    if alike := difflib.get_close_matches(name, names, n=1, cutoff=0.75):
        yield prefix + alike[0]
        return
    leaves = list(_keys(config, leaves=True))
    same = [leaf for leaf in leaves if leaf.rpartition(".")[2] == name]
    same = same or [leaf for leaf in leaves if name in leaf.rpartition(".")[2].split("_")]
    top = key.partition(".")[0]
    inside = [leaf for leaf in same if leaf.startswith(f"{top}.")]
    found = inside or same
    if not found and (alike := difflib.get_close_matches(name, names, n=1)):
        found = [prefix + alike[0]]
    yield from (found or difflib.get_close_matches(key, leaves, n=1, cutoff=0.7))[:3]


def _wrong_value(
    override: str, error: Exception, overrides: Sequence[str], compose: Compose
) -> str:
    cause = error.__cause__ or error
    reason = (str(cause).strip().splitlines() or [""])[0].rstrip(".") + "."
    try:
        parsed = parse_override(override)
    except ConfigError:
        return f"{override}: {reason}"
    if registry := registries().get(parsed.key_or_group):
        known = ", ".join(registry.names()) or "none"
        return f"{override}: {reason} Known names of a {registry.kind}: {known}."
    section, _, name = parsed.key_or_group.rpartition(".")
    config = _compose_without(parsed.key_or_group, overrides, compose)
    node = OmegaConf.select(config, section) if section else config
    schema = OmegaConf.get_type(node) if node is not None else None
    described = field_help(schema).get(name, "") if schema else ""  # type: ignore[arg-type] # a class is hashable
    text = " ".join(described.split())
    return f"{override}: {reason}" + (f" {parsed.key_or_group}: {text}" if text else "")


def _compose_without(key: str, overrides: Sequence[str], compose: Compose) -> DictConfig:
    """Composes with the choices of components alone, since other overrides may be wrong as well."""
    kinds = {*registries(), "experiment"}
    chosen = [
        override
        for override in overrides
        if parse_override(override).key_or_group in kinds - {key}
        and not parse_override(override).is_sweep_override()
    ]
    for attempt in (chosen, []):
        try:
            return compose(attempt)
        except Exception as error:  # any further mistake is told in its turn
            if isinstance(error, SeqtrainError):
                raise
    return DictConfig({})


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


def _one_line(error: BaseException) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
    if isinstance(error, OmegaConfBaseException):  # what follows are OmegaConf's internals
        key = f"{error.full_key!s}: " if error.full_key else ""
        return f"{key}{lines[0] if lines else type(error).__name__}."
    return "; ".join(line for line in lines if line) + "."
