"""The words of a command line: options, overrides `key=value`, and what people get wrong."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from seqtrain.errors import ConfigError
from seqtrain_cli.fairseq_flags import INSTEAD, KEYS, SWITCH_VALUES

SWITCHES = ("-r", "--run", "-m", "--multirun", "-sc", "--shell-completion", "--resolve",
            "--hydra-help", "-i", "--info")  # fmt: skip
WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-cd", "--config-dir")
"""Options of Hydra that pass. Not --experimental-rerun, which unpickles a file."""


@dataclass(frozen=True)
class Arguments:
    """A command line, taken apart.

    Args:
        options: Words that begin with a dash and their values, for Hydra.
        overrides: The `key=value` words.
    """

    options: list[str]
    overrides: list[str]

    @property
    def is_completion(self) -> bool:
        """The shell asks, not a person."""
        return "-sc" in self.options or "--shell-completion" in self.options

    @property
    def config_dirs(self) -> list[str]:
        """Folders that `--config-dir` names."""
        return [
            value
            for name, value in zip(self.options, self.options[1:], strict=False)
            if name in ("-cd", "--config-dir")
        ]

    def value_of(self, key: str) -> object:
        """Returns the value of the last override of a key, or None."""
        found = [parsed.value() for parsed in self.parsed() if parsed.key_or_group == key]
        return found[-1] if found else None

    def chosen(self) -> dict[str, str]:
        """Returns the keys without a dot whose last value is a word: `task=NAME` is among them."""
        values = {p.key_or_group: p.value() for p in self.parsed() if "." not in p.key_or_group}
        return {key: value for key, value in values.items() if isinstance(value, str)}

    def parsed(self) -> Iterator[Override]:
        """Yields the overrides, parsed."""
        for text in self.overrides:
            yield parse_override(text)

    def with_value(self, key: str, items: Sequence[str]) -> "Arguments":
        """Returns the same with a list as the only value of a key."""
        rest = [p.input_line or "" for p in self.parsed() if p.key_or_group != key]
        quoted = ",".join(_quote(item) for item in items)
        return replace(self, overrides=[*rest, f"{key}=[{quoted}]"])


def texts(value: object) -> list[str]:
    """Returns one value, or each of a list, as text; nothing for None."""
    items = value if isinstance(value, list) else [value]
    return [str(item) for item in items if item is not None]


def split_arguments(words: Sequence[str]) -> Arguments:
    """Takes a command line apart.

    Raises:
        ConfigError: A word is neither an option of ours nor an override; says what to write.
    """
    options: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, _, value = word.partition("=")
        if name in WITH_VALUE and value:
            options += [name, value]
        elif word in SWITCHES:
            options.append(word)
            if word in ("-i", "--info") and rest and "=" not in rest[0] and rest[0][:1] != "-":
                options.append(rest.pop(0))
        elif word in WITH_VALUE and rest:
            options += [word, rest.pop(0)]
        elif word.startswith("-"):
            raise ConfigError(_explain_dashes(word, rest[0] if rest else ""))
        elif "=" not in word and not word.startswith("~"):
            raise ConfigError(_explain_bare_word(word, rest[0] if rest else ""))
        else:
            overrides.append(word)
    return Arguments(options, overrides)


def normalise(
    arguments: Arguments, list_keys: Collection[str], dict_keys: Collection[str] = ()
) -> Arguments:
    """Returns the overrides as Hydra wants them.

    A single value of a list is put into brackets, since shells take brackets as a pattern, and
    `+experiment=` becomes `experiment=`, since it is in the defaults list. New keys of a free
    mapping get the `++` that Hydra wants.
    """
    overrides = [
        f"++{parsed.input_line}"
        if parsed.type == OverrideType.CHANGE
        and parsed.key_or_group.rpartition(".")[0] in dict_keys
        else _normalise(parsed, list_keys)
        for parsed in arguments.parsed()
    ]
    return replace(arguments, overrides=overrides)


def parse_override(text: str) -> Override:
    """Parses `key=value`, or raises ConfigError with the way to write it."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(explain_grammar(text)) from error


def explain_grammar(override: str) -> str:
    """Says how to write an override that cannot be parsed."""
    key, _, value = override.partition("=")
    if value.count("[") != value.count("]") or value.count("{") != value.count("}"):
        return (
            f"{override!r} has an open bracket. Quote the whole argument for the shell, without "
            "spaces or with: 'plugins=[a,b]'."
        )
    if value.startswith(("'", '"')) or not key:
        return f"{override!r} cannot be read. Write key=value."
    plain = value.replace('"', '\\"')
    return (
        f"""{override!r} cannot be read. Quote the value, twice for the shell: '{key}="{plain}"'."""
    )


def _normalise(parsed: Override, list_keys: Collection[str]) -> str:
    text = parsed.input_line or ""
    if parsed.key_or_group in ("experiment", "plugins"):
        text = text.lstrip("+")
    if parsed.key_or_group not in list_keys or parsed.type == OverrideType.DEL:
        return text
    if parsed.is_sweep_override() or isinstance(parsed.value(), list) or parsed.value() is None:
        return text
    key, _, value = text.partition("=")
    return f"{key}=[{value}]"


def _explain_dashes(word: str, following: str) -> str:
    flag, _, value = word.lstrip("-").partition("=")
    if flag in ("config", "config-file", "config-name"):
        return f"{word!r} is not an option here: write experiment=NAME, or --config-dir=FOLDER too."
    if reason := INSTEAD.get(flag.replace("_", "-")):
        return f"{word!r} is not an option here: {reason}."
    key = KEYS.get(flag.replace("_", "-"), flag.replace("-", "_"))
    if not value:
        is_value = following and not following.startswith("-") and "=" not in following
        value = following if is_value else SWITCH_VALUES.get(flag, "true")
    elif value == "true":
        value = SWITCH_VALUES.get(flag, value)
    return (
        f"{word!r} is not an option: settings are written without dashes, as key=value. "
        f"Did you mean {key}={value}?"
    )


def _explain_bare_word(word: str, following: str) -> str:
    if "/" in word or Path(word).exists():
        return f"{word!r} is a path without a key. {_keyed(word)}; --help lists the keys."
    is_value = following and not following.startswith("-") and "=" not in following
    return f"{word!r} has no value. Write {word}={following if is_value else 'VALUE'}."


def _keyed(path: str) -> str:
    """Says what a path is given as, by what lies there."""
    if path.endswith((".yaml", ".yml")):
        return f"Write experiment={Path(path).stem}"
    if Path(path, "checkpoints").is_dir():
        others = "in seqtrain-train it is run_dir, in seqtrain-report runs"
        return f"Write checkpoint={path} ({others})"
    if Path(path, "card.json").is_file():
        return f"Write task.data={path}"
    return f"Write KEY={path}"


def _quote(item: str) -> str:
    if re.fullmatch(r"[\w./~@+-]+", item):
        return item
    escaped = item.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
