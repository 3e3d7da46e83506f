"""Registries: name -> (class, config dataclass). Each is mirrored into Hydra's ConfigStore."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hydra.core.config_store import ConfigStore

from seqtrain.config_schema import parse_section
from seqtrain.errors import ConfigError, UnknownNameError

T = TypeVar("T")
C = TypeVar("C", bound=type)


@dataclass(kw_only=True)
class ComponentConfig:
    """Base of every registered component's config: plain values, defaults, checks."""

    name: str = ""
    """Registered name of the component; set by choosing it, as in `model=transformer`."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered component."""

    name: str
    cls: type[T]
    config: type[ComponentConfig]

    @property
    def origin(self) -> str:
        """Where the class is written, as file:line."""
        return origin_of(self.cls)


class Registry(Generic[T]):
    """The components of one kind by name.

    Registering also stores the config dataclass in Hydra's ConfigStore, so that
    `kind=name kind.field=value` is typed and known before Hydra composes.

    Args:
        kind: Section and Hydra group, in the singular: "model".
        base: Class that every entry derives from.
        many: Several entries may be chosen at once; each gets its own sub-section `kind.name`.
    """

    def __init__(self, kind: str, base: type[T], many: bool = False) -> None:
        self.kind = kind
        self.base = base
        self.many = many
        self._entries: dict[str, Entry[T]] = {}
        _REGISTRIES[kind] = self

    def register(self, name: str, config: type[ComponentConfig]) -> Callable[[C], C]:
        """Returns a class decorator that registers under a name.

        Raises:
            ConfigError: The name is taken (both places are named), the class has the wrong base,
                or config is not a ComponentConfig dataclass.
        """

        def decorate(cls: C) -> C:
            self._check(name, cls, config)
            self._entries[name] = Entry(name, cls, config)
            package = f"{self.kind}.{name}" if self.many else self.kind
            ConfigStore.instance().store(
                group=self.kind, name=name, node=config(name=name), package=package
            )
            return cls

        return decorate

    def get(self, name: str) -> Entry[T]:
        """Returns the entry of that name, or raises UnknownNameError listing the choices."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self.names()) or "none"
        raise UnknownNameError(
            f"No {self.kind} named {name!r}.{hint} Known: {known}. "
            "A plug-in's components are known once plugins=[...] names it."
        )

    def names(self) -> list[str]:
        """Returns the registered names in alphabetical order."""
        return sorted(self._entries)

    def parse(self, section: Mapping[str, Any] | ComponentConfig) -> ComponentConfig:
        """Returns the typed config of a section that holds `name` and that component's fields.

        Works on a composed section and on one read back from a checkpoint alike.

        Raises:
            UnknownNameError: No component has that name.
            ConfigError: An unknown field or a refused value.
        """
        if isinstance(section, ComponentConfig):
            return section
        name = section.get("name", "")
        if not isinstance(name, str) or not name:
            raise ConfigError(
                f"{self.kind} is not chosen: write {self.kind}=NAME with NAME one of "
                f"{', '.join(self.names())}."
            )
        return parse_section(self.get(name).config(name=name), section, self.kind)

    def _check(self, name: str, cls: type, config: Any) -> None:
        if name in self._entries:
            raise ConfigError(
                f"Two classes register as {self.kind} {name!r}: "
                f"{self._entries[name].origin} and {origin_of(cls)}. Rename one."
            )
        if not issubclass(cls, self.base):
            raise ConfigError(
                f"{self.kind} {name!r} ({origin_of(cls)}) must derive from {self.base.__name__}."
            )
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            raise ConfigError(
                f"{self.kind} {name!r} ({origin_of(cls)}) does not define {', '.join(missing)}, "
                f"which every {self.base.__name__} needs."
            )
        is_config = isinstance(config, type) and issubclass(config, ComponentConfig)
        if not is_config or not dataclasses.is_dataclass(config):
            raise ConfigError(
                f"{self.kind} {name!r} ({origin_of(cls)}) needs config=, a dataclass that derives "
                "from ComponentConfig."
            )


_REGISTRIES: dict[str, Registry[Any]] = {}


def registries() -> dict[str, Registry[Any]]:
    """Returns every registry by kind."""
    return dict(_REGISTRIES)


def origin_of(cls: type) -> str:
    """Returns where a class is written, as file:line, as far as Python knows."""
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return f"{cls.__module__}.{cls.__qualname__}"
