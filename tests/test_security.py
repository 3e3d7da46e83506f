"""Reads every module's syntax tree for what could run or import code that a file names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
AUDITED = {"seqtrain/interop/foreign_pickle.py"}
"""May read pickles: in a subprocess with limits, when the user says trust=true."""

MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
           "pty", "torch.distributed.checkpoint", "torch.hub", "torch.package"}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput",
         "subprocess.getstatusoutput", "hydra.utils.instantiate", "hydra.utils.call",
         "hydra.utils.get_class", "hydra.utils.get_method", "hydra.utils.get_object",
         "torch.load", "torch.jit.load", "numpy.fromfile", "tempfile.mktemp"}  # fmt: skip
METHODS = {"instantiate", "all_gather_object", "gather_object", "broadcast_object_list",
           "scatter_object_list", "send_object_list", "recv_object_list", "unsafe_load",
           "full_load", "load_all", "extractall"}  # fmt: skip
YAML_NAMES = {"safe_load", "safe_dump", "YAMLError"}
KEYWORDS = {"weights_only": False, "allow_pickle": True, "shell": True}
"""Keyword arguments and the value that is refused, and any value that is not written out."""


def source_files() -> list[Path]:
    packages = ("seqtrain", "seqtrain_cli")
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def faults_of(text: str) -> Iterator[tuple[int, str]]:
    """Yields (line, what) for everything in a module that is refused."""
    tree = ast.parse(text)
    full_names = dict(imported_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if is_refused_module(a.name))
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            refused = [name for name in names if is_refused_module(name)]
            yield from ((node.lineno, name) for name in refused[:1])
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            yield from ((node.lineno, name) for name in refused_names(node, full_names))
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, name) for name in refused_keywords(node))


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields (name in the module, what it stands for)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def is_refused_module(name: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in MODULES)


def refused_names(node: ast.Attribute | ast.Name, full_names: dict[str, str]) -> Iterator[str]:
    name = dotted(node, full_names)
    if name in CALLS or is_refused_module(name):
        yield name
    if isinstance(node, ast.Attribute) and node.attr in METHODS:
        yield node.attr
    if name.startswith("yaml.") and name.count(".") == 1 and name[5:] not in YAML_NAMES:
        yield name


def dotted(node: ast.expr, full_names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return full_names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, full_names)}.{node.attr}"
    return "?"


def refused_keywords(node: ast.Call) -> Iterator[str]:
    for keyword in node.keywords:
        if keyword.arg in KEYWORDS:
            value = keyword.value
            refused = KEYWORDS[keyword.arg]
            if not isinstance(value, ast.Constant) or value.value is refused:
                yield f"{keyword.arg}={ast.unparse(value)}"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import pickle as data",
        "from pickle import loads",
        "from torch import hub",
        "import torch.distributed.checkpoint as dcp",
        "from torch.distributed import checkpoint",
        "import torch\ntorch.hub.load('x', 'y')",
        "eval('1')",
        "run = exec",
        "import builtins\nfrom os import system as say\nsay('x')",
        "import os as o\no.popen('x')",
        "import torch\ntorch.load('x', weights_only=True)",
        "load(x, weights_only=False)",
        "load(x, weights_only=setting)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "subprocess.run('x', shell=True)",
        "import yaml\nyaml.load('x', yaml.Loader)",
        "from yaml import load\nload('x')",
        "import hydra\nhydra.utils.instantiate({})",
        "from hydra.utils import instantiate\ninstantiate({})",
        "import torch.distributed as dist\ndist.broadcast_object_list([])",
        "archive.extractall()",
    ],
)
def test_this_would_be_found(text: str) -> None:
    assert list(faults_of(text)), text


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()",
        "import yaml\nyaml.safe_load('x')",
        "load(x, weights_only=True)",
        "import re\nre.compile('x')",
        "class Options:\n    compile: bool = False",
        "import importlib\nimportlib.import_module('x')",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "subprocess.run(['x'], shell=False)",
    ],
)
def test_this_is_no_fault(text: str) -> None:
    assert list(faults_of(text)) == []


def test_nothing_runs_or_unpickles_what_a_file_says() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in source_files()
        if str(path.relative_to(ROOT)) not in AUDITED
        for line, what in faults_of(path.read_text())
    ]
    assert not found, "\n".join(found)


def test_modules_are_imported_by_name_for_plugins_alone() -> None:
    """Whoever names a module runs it: the command line, an experiment file, an entry point."""
    callers = {
        str(path.relative_to(ROOT))
        for path in source_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("import_module", "exec_module", "spec_from_file_location", "run_path")
    }
    assert callers <= {"seqtrain/plugins.py"}, callers
