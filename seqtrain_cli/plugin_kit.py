"""Writes a plug-in's package from the templates beside this file."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template

from seqtrain.errors import ConfigError, MachineError
from seqtrain.plugins import load_plugins
from seqtrain.registry import registries

TEMPLATES = Path(__file__).with_name("plugin_template")

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "$name/__init__.py": "init.py",
    "$name/model.py": "model.py",
    "$name/criterion.py": "criterion.py",
    "$name/config/model/${name}_small.yaml": "model_small.yaml",
    "$name/config/experiment/$name.yaml": "experiment.yaml",
    "tests/test_$name.py": "test.py",
}
"""File of the package: template, which ends with .txt besides."""


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Writes a package whose model, criterion and tests work as they are.

    Args:
        name: Of the package and its model.
        folder: To make; its parent folders too.

    Returns:
        The files.

    Raises:
        ConfigError: The name cannot be one, or is taken; or the folder exists.
        MachineError: The folder cannot be written.
    """
    _check_spelling(name)
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists. Name another folder: out=FOLDER.")
    _check_free(name)
    words = {
        "name": name,
        "distribution": name.replace("_", "-"),
        "camel": "".join(part.capitalize() for part in name.split("_")),
    }
    written = []
    for pattern, template in FILES.items():
        path = folder / Template(pattern).substitute(words)
        source = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(source).substitute(words), encoding="utf-8")
        except OSError as error:
            raise MachineError(f"{path} cannot be written: {error.strerror}.") from error
        written.append(path)
    return written


def _check_spelling(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")
        hint = f" For example name={plain}." if plain and not keyword.iskeyword(plain) else ""
        raise ConfigError(
            f"name={name!r} is not the name of a Python package in small letters: a letter, then "
            f"letters, digits and single underscores.{hint}"
        )


def _check_free(name: str) -> None:
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise ConfigError(
            f"name={name} is taken: Python has a module of that name. Choose another one."
        )
    load_plugins([])
    for kind, own in (("model", name), ("criterion", f"{name}_focal")):
        if own in registries()[kind].names():
            where = registries()[kind].get(own).origin
            raise ConfigError(f"name={name} is taken: {kind}={own} is in {where}. Choose another.")
