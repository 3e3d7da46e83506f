"""load_plugins(): every built-in component, installed plug-ins, and those that the user names.

A plug-in is Python code that runs with the user's rights. Only the command line, an experiment
file and the environment name one; a checkpoint never does.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType

from seqtrain.errors import ConfigError

ENTRY_POINT_GROUP = "seqtrain.plugins"
DISABLE_VARIABLE = "SEQTRAIN_DISABLE_PLUGINS"
BUILT_IN_PACKAGES = (
    "seqtrain.data.tokenizers",
    "seqtrain.models",
    "seqtrain.criteria",
    "seqtrain.optim",
    "seqtrain.lr_schedulers",
    "seqtrain.scorers",
    "seqtrain.tasks",
    "seqtrain.training.callbacks",
    "seqtrain.training.log_writers",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PluginRecord:
    """One loaded plug-in: what a checkpoint's manifest says about it."""

    name: str
    """As the user or the entry point named it."""
    origin: str
    """File of the module."""
    version: str
    """Version of the distribution that holds it; empty if there is none."""
    sha256: str
    """Hash of that file; of a package, of all its Python files."""


_loaded: dict[str, PluginRecord] = {}
_config_dirs: list[Path] = []


def load_plugins(names: Sequence[str]) -> None:
    """Imports every built-in component, installed plug-ins, then the named ones; each once.

    Installed plug-ins are the entry points of group `seqtrain.plugins`; one that fails is a
    warning, since the user did not ask for it. SEQTRAIN_DISABLE_PLUGINS=1 leaves them out.

    Args:
        names: Dotted modules, or paths of Python files and of packages' folders:
            `my_package.models`, `./my_model.py`, `./my_package`. The folder may also be that of a
            project, with one package in it or in its `src`. With a dotted one, the working
            directory joins the Python path, at its end; with a folder, the one that holds it.

    Raises:
        ConfigError: A named plug-in is missing, or fails as it is imported.
    """
    import_built_ins()
    if os.environ.get(DISABLE_VARIABLE, "") in ("", "0"):
        _load_entry_points()
    for name in names:
        if not is_path(name):
            _add_to_python_path(Path.cwd())
            _load(name, name, partial(_import_module, name))
            continue
        path = Path(name).expanduser().resolve()
        if path.is_dir():
            path = _package_in(path)
            _load(name, str(path), partial(_import_package, path))
        else:
            _load(name, str(path), partial(_import_file, path))


@cache
def import_built_ins() -> None:
    """Imports every module that registers a component of the project itself."""
    for package_name in BUILT_IN_PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.walk_packages(package.__path__, f"{package_name}."):
            importlib.import_module(module.name)


def loaded_plugins() -> list[PluginRecord]:
    """Returns what was loaded besides the built-ins, in the order of loading."""
    return list(dict.fromkeys(_loaded.values()))


def register_config_dir(path: str | Path) -> None:
    """Adds a plug-in's folder of YAML presets (`model/big.yaml`, `experiment/x.yaml`).

    Called by a plug-in as it is imported.

    Raises:
        ConfigError: There is no such folder.
    """
    directory = Path(path).resolve()
    if not directory.is_dir():
        raise ConfigError(f"register_config_dir: {directory} is not a folder.")
    if directory not in _config_dirs:
        _config_dirs.append(directory)


def config_dirs() -> list[Path]:
    """Returns the folders that plug-ins registered."""
    return list(_config_dirs)


def _load(name: str, key: str, import_it: Callable[[], ModuleType]) -> None:
    if key in _loaded:
        return
    try:
        module = import_it()
    except ConfigError:  # says all: a missing plug-in, a name registered twice
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"The plug-in {name!r} fails{_where(error)}: {_say(error)}") from error
    if getattr(module, "__file__", None) is None:  # a folder without __init__.py is imported, too
        del sys.modules[module.__name__]
        folder = next(iter(module.__path__))
        raise ConfigError(
            f"The plug-in {name!r} is a folder without Python code of its own: {folder}. For a "
            f"project with a package in it write its path, plugins=[{_shown(Path(folder))}]."
        )
    record = _record(name, module)
    same = [other for other in _loaded.values() if other.origin == record.origin]
    _loaded[key] = same[0] if same else record


def _load_entry_points() -> None:
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            _load(point.name, point.value, partial(_import_module, point.module))
        except ConfigError as error:
            _log.warning(
                "warning: the installed plug-in %r is left out: %s (%s=1 leaves all out.)",
                point.name,
                error,
                DISABLE_VARIABLE,
            )


def is_path(name: str) -> bool:
    """Says whether a plug-in is named by its file or folder, and not as a module."""
    return name.endswith(".py") or "/" in name or os.sep in name


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"There is no plug-in module {name!r}: no module {error.name!r} on the Python path "
                f"or in {Path.cwd()}. Install it, or name its file: plugins=[./my_plugin.py]."
            ) from error
        raise
    except (TypeError, ValueError) as error:
        if name.strip(".") and ".." not in name and not name.startswith("."):
            raise
        raise ConfigError(f"{name!r} is neither a dotted module nor a Python file.") from error


def _import_file(path: Path) -> ModuleType:
    """Imports a file under a module name that is the same in every process for the same path."""
    if not path.is_file() or path.suffix != ".py":
        fault = "is no Python file" if path.exists() else "does not exist"
        raise ConfigError(
            f"The plug-in {path} {fault}: name a dotted module, or a file that ends in .py."
        )
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    module_name = f"seqtrain_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"The plug-in {path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _package_in(folder: Path) -> Path:
    """Returns the folder of a package: this one, or the only one in a project's folder."""
    if (folder / "__init__.py").is_file():
        packages = [folder]
    else:
        found = [*folder.glob("*/__init__.py"), *folder.glob("src/*/__init__.py")]
        names = {"tests", "test", "docs"}
        packages = sorted(path.parent for path in found if path.parent.name not in names)
    if not packages:
        raise ConfigError(
            f"The plug-in {folder} holds no Python package, which is a folder with an __init__.py: "
            f"name a file, as plugins=[{_shown(folder)}/my_plugin.py]."
        )
    if len(packages) > 1:
        names_of_all = " or ".join(f"plugins=[{_shown(package)}]" for package in packages)
        raise ConfigError(f"The plug-in {folder} holds several packages: write {names_of_all}.")
    if not packages[0].name.isidentifier():
        raise ConfigError(
            f"The plug-in {packages[0]} cannot be imported: Python allows no such name. "
            f"Rename the folder, as {re.sub(r'[^a-zA-Z0-9]+', '_', packages[0].name)}."
        )
    return packages[0]


def _shown(path: Path) -> str:
    """Returns a path as a plug-in's name: from the working directory, where it lies below."""
    is_below = path.is_relative_to(Path.cwd())
    return f"./{path.relative_to(Path.cwd())}" if is_below else str(path)


def _import_package(folder: Path) -> ModuleType:
    """Imports a package by its folder, under its own name, as if it were installed."""
    _add_to_python_path(folder.parent)
    importlib.invalidate_caches()
    module = _import_module(folder.name)
    found = Path(module.__file__ or next(iter(module.__path__)))
    if found.resolve() != folder / "__init__.py":
        raise ConfigError(
            f"The plug-in {folder} cannot be imported as {folder.name!r}: Python has another "
            f"module of that name, {found}. Rename the folder."
        )
    return module


def _add_to_python_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _record(name: str, module: ModuleType) -> PluginRecord:
    origin = Path(module.__file__ or "")
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    digest = hashlib.sha256()
    for path in files:
        if len(files) > 1:
            digest.update(f"{path.relative_to(origin.parent).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return PluginRecord(
        name=name,
        origin=str(origin),
        version=next(_versions(module.__name__.partition(".")[0]), ""),
        sha256=digest.hexdigest(),
    )


def _versions(top_level: str) -> Iterator[str]:
    for distribution in importlib.metadata.packages_distributions().get(top_level, []):
        yield importlib.metadata.version(distribution)


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f" at {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    outside = [
        frame
        for frame in frames
        if not frame.filename.startswith("<frozen") and frame.filename != __file__
    ]
    return f" at {outside[-1].filename}:{outside[-1].lineno}" if outside else ""


def _say(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program with SystemExit({error.code!r})."
    first_line = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {first_line}."
