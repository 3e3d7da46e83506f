"""Typed sections: check a plain mapping against a dataclass, and read a dataclass's help."""

import ast
import dataclasses
import difflib
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from seqtrain.errors import ConfigError

C = TypeVar("C")


def parse_section(defaults: C, section: Mapping[str, Any], key: str) -> C:
    """Returns the dataclass that a plain mapping describes, or says what is wrong with it.

    Args:
        defaults: Instance of the dataclass, whose values hold where the section has none.
        section: Plain values, possibly from an untrusted file. Interpolations are refused.
        key: Where the section stands in the config, for messages: "model", "optimization".

    Raises:
        ConfigError: An unknown key, a value of the wrong type, or one that the dataclass refuses.
    """
    _refuse_interpolations(section, key)
    known = [field.name for field in dataclasses.fields(defaults)]  # type: ignore[arg-type] # C is a dataclass; no bound says so
    for name in section:
        if name not in known:
            raise ConfigError(unknown_key_message(f"{key}.{name}".lstrip("."), name, known))
    try:
        merged = OmegaConf.merge(OmegaConf.structured(defaults), OmegaConf.create(dict(section)))
        return OmegaConf.to_object(merged)  # type: ignore[return-value] # it is of the same class
    except OmegaConfBaseException as error:
        full_key = ".".join(part for part in (key, error.full_key) if part)
        schema = error.object_type
        if isinstance(error, ConfigKeyError | ConfigAttributeError) and is_dataclass(schema):
            known = [field.name for field in dataclasses.fields(schema)]
            raise ConfigError(unknown_key_message(full_key, str(error.key), known)) from error
        raise ConfigError(f"{full_key}: {_first_line(error)}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error


def unknown_key_message(full_key: str, name: str, known: Iterable[str]) -> str:
    """Says that a key does not exist, which come near, and which there are."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no key {full_key!r}.{hint} Known here: {', '.join(choices)}."


@cache
def field_help(cls: type) -> dict[str, str]:
    """Returns the docstring that stands below each field of a dataclass, bases included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _own_field_help(base)
    return found


def _own_field_help(cls: type) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError):  # a class made at run time has no source
        return {}
    if not isinstance(body, ast.ClassDef):
        return {}
    found: dict[str, str] = {}
    for field, following in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found[field.target.id] = inspect.cleandoc(str(following.value.value))
    return found


def _refuse_interpolations(value: object, key: str) -> None:
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{key}: interpolations are not allowed here, got {value!r}.")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_interpolations(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_interpolations(item, f"{key}[{index}]")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "."
