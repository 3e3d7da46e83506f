"""The fields of a config dataclass, for people: key, type, default and meaning."""

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from seqtrain.config_schema import field_help
from seqtrain.training.run_config import RunConfig


@dataclass(frozen=True)
class DescribedField:
    """One setting.

    Args:
        key: Within its section, dotted where a field holds further ones: "shards.parts".
        type: As it is written: "float", "list[str]".
        default: As Python shows it.
        help: What stands below the field; empty if nothing does.
    """

    key: str
    type: str
    default: str
    help: str


def described_fields(config: Any, prefix: str = "") -> Iterator[DescribedField]:
    """Yields the settings of a config, those of configs inside of it too.

    Args:
        config: An instance, whose values are the defaults.
        prefix: Begins each key.
    """
    described = field_help(type(config))  # type: ignore[arg-type] # a class is hashable
    hints = typing.get_type_hints(type(config))
    for spec in dataclasses.fields(config):
        value, hint = getattr(config, spec.name), hints[spec.name]
        if dataclasses.is_dataclass(value):
            yield from described_fields(value, f"{prefix}{spec.name}.")
        elif spec.name != "name" and value != MISSING and hint is not Any:
            kind = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint
            text = described.get(spec.name, "")
            plain = str(kind).replace("typing.", "")
            yield DescribedField(f"{prefix}{spec.name}", plain, repr(value), text)


def run_sections() -> dict[str, Any]:
    """Returns the sections of a run that are no choice of a component, with their defaults."""
    run = RunConfig()
    values = {spec.name: getattr(run, spec.name) for spec in dataclasses.fields(run)}
    return {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}
