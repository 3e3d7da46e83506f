"""The rules of the house, read from the source: floors, imports, registered components."""

import ast
import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from seqtrain.config_schema import field_help
from seqtrain.plugins import import_built_ins
from seqtrain.registry import ComponentConfig, Entry, registries

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("seqtrain", "seqtrain_cli")

# A module may import from its own row's part, from parts left of it, and from rows above.
# Parts in one set do not know one another.
FLOORS: list[list[set[str]]] = [
    [
        {"seqtrain", "seqtrain.errors"},
        {
            "seqtrain.config_schema",
            "seqtrain.finite_json",
            "seqtrain.metrics",
            "seqtrain.option_checks",
            "seqtrain.rng",
            "seqtrain.files",
        },
        {"seqtrain.registry", "seqtrain.batch"},
        {"seqtrain.distributed"},
        {"seqtrain.checkpoint"},
    ],
    [
        {"seqtrain.data", "seqtrain.modules", "seqtrain.optim", "seqtrain.scorers"},
        {"seqtrain.models", "seqtrain.lr_schedulers"},
        {"seqtrain.criteria", "seqtrain.generation"},
    ],
    [{"seqtrain.tasks"}],
    [{"seqtrain.training"}],
    [
        {"seqtrain.plugins"},
        {"seqtrain.pipeline"},
        {"seqtrain.interop", "seqtrain.report"},
        {"seqtrain.serve"},
        {"seqtrain_cli"},
    ],
]
ALONE = {"seqtrain.scorers", "seqtrain.optim", "seqtrain.lr_schedulers"}
"""Parts of floor 1 that know only the others named here of the same floor, scorers none."""

OPTIONAL_PACKAGES = {
    "sentencepiece",
    "tensorboardX",
    "sacrebleu",
    "fsspec",
    "pyarrow",
    "zstandard",
    "tokenizers",
    "matplotlib",
    "rich",
    "onnxruntime",
    "onnxscript",
    "ctranslate2",
    "wandb",
    "mlflow",
}


@dataclass(frozen=True)
class Import:
    """One import statement."""

    path: Path
    line: int
    importer: str
    imported: str
    is_local: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.importer} imports {self.imported}"


def source_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [target_of(node.module or "", alias.name) for alias in node.names]
        for name in names:
            yield Import(path, node.lineno, module_name(path), name, id(node) in inside)


def target_of(module: str, name: str) -> str:
    """`from package import module` imports the module."""
    candidate = ROOT.joinpath(*module.split("."), name)
    is_module = candidate.is_dir() or candidate.with_suffix(".py").is_file()
    return f"{module}.{name}" if is_module else module


ALL_IMPORTS = [found for path in source_files() for found in imports_of(path)]
OWN_IMPORTS = [found for found in ALL_IMPORTS if found.imported.partition(".")[0] in PACKAGES]


def part_of(module: str) -> str:
    """Returns the longest name in FLOORS that holds the module."""
    parts = [name for floor in FLOORS for rank in floor for name in rank]
    found = [name for name in parts if name != "seqtrain" and f"{module}.".startswith(f"{name}.")]
    return found[0] if found else module


def position(part: str) -> tuple[int, int]:
    for floor, ranks in enumerate(FLOORS):
        for rank, names in enumerate(ranks):
            if part in names:
                return floor, rank
    raise LookupError(f"{part} has no floor; add it to FLOORS in {__file__}.")


def is_allowed(importer: str, imported: str) -> bool:
    own, other = part_of(importer), part_of(imported)
    if own == other:
        return True
    (own_floor, own_rank), (floor, rank) = position(own), position(other)
    if own_floor != floor:
        return floor < own_floor
    if {own, other} & ALONE:
        return {own, other} == {"seqtrain.lr_schedulers", "seqtrain.optim"} and rank < own_rank
    return rank < own_rank


def test_every_module_has_a_floor() -> None:
    for path in source_files():
        position(part_of(module_name(path)))


def test_no_module_imports_from_a_higher_floor() -> None:
    broken = [str(i) for i in OWN_IMPORTS if not is_allowed(i.importer, i.imported)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("seqtrain.registry", "seqtrain.models.base"),
        ("seqtrain.data.collate", "seqtrain.models.base"),
        ("seqtrain.modules.attention", "seqtrain.data.dataset"),
        ("seqtrain.models.base", "seqtrain.criteria.base"),
        ("seqtrain.criteria.base", "seqtrain.generation.base"),
        ("seqtrain.models.base", "seqtrain.optim.base"),
        ("seqtrain.criteria.base", "seqtrain.scorers.base"),
        ("seqtrain.optim.base", "seqtrain.lr_schedulers.base"),
        ("seqtrain.tasks.base", "seqtrain.training.trainer"),
        ("seqtrain.training.trainer", "seqtrain.pipeline"),
        ("seqtrain.plugins", "seqtrain.pipeline"),
    ],
)
def test_these_imports_would_be_refused(importer: str, imported: str) -> None:
    assert not is_allowed(importer, imported)


def test_there_are_no_cycles_of_modules() -> None:
    modules = {module_name(path) for path in source_files()}
    graph = {
        module: {i.imported for i in OWN_IMPORTS if i.importer == module and i.imported in modules}
        for module in modules
    }
    while leaves := {module for module, imported in graph.items() if not imported & graph.keys()}:
        graph = {module: imported for module, imported in graph.items() if module not in leaves}
    assert not graph, f"in or above a cycle: {', '.join(sorted(graph))}"


def test_imports_stand_at_the_top_except_optional_packages_and_in_the_commands() -> None:
    broken = [
        str(found)
        for found in ALL_IMPORTS
        if found.is_local
        and found.imported.partition(".")[0] not in OPTIONAL_PACKAGES
        and not found.importer.startswith("seqtrain_cli.")
    ]
    assert not broken, "\n".join(broken)


def test_optional_packages_are_imported_only_where_they_are_used() -> None:
    broken = [
        str(i) for i in ALL_IMPORTS if i.imported.partition(".")[0] == "sentencepiece"
        and not i.is_local
    ]  # fmt: skip
    assert not broken, "\n".join(broken)


def test_only_declared_packages_are_imported() -> None:
    declared = {"torch", "numpy", "hydra", "omegaconf", "yaml", "safetensors", "typing_extensions"}
    known = {*sys.stdlib_module_names, *declared, *OPTIONAL_PACKAGES, *PACKAGES}
    broken = [str(i) for i in ALL_IMPORTS if i.imported.partition(".")[0] not in known]
    assert not broken, "\n".join(broken)


def test_imports_are_absolute() -> None:
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: relative import"


def test_package_files_are_empty() -> None:
    for path in source_files():
        if path.name == "__init__.py" and path.parent != ROOT / "seqtrain":
            assert path.read_text() == "", f"{path.relative_to(ROOT)} is not empty"


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils.py", "helpers.py", "misc.py", "common.py"}
    assert [str(path) for path in source_files() if path.name in drawers] == []


def test_commands_are_short() -> None:
    for name in ("train", "preprocess", "generate", "evaluate", "average", "info"):
        path = ROOT / "seqtrain_cli" / f"{name}.py"
        assert len(path.read_text().splitlines()) < 80, path


def built_in_entries() -> Iterator[tuple[str, Entry[object]]]:
    import_built_ins()
    for kind, registry in sorted(registries().items()):
        for name in registry.names():
            entry = registry.get(name)
            if entry.cls.__module__.startswith("seqtrain."):
                yield kind, entry


def own_doc(cls: type) -> str:
    """Without what dataclass writes by itself."""
    doc = cls.__dict__.get("__doc__") or ""
    return "" if doc.startswith(f"{cls.__name__}(") else doc.strip()


def test_there_are_built_in_components_of_every_kind_that_a_run_needs() -> None:
    kinds = {kind for kind, _ in built_in_entries()}
    assert kinds >= {"task", "model", "criterion", "optimizer", "lr_scheduler", "tokenizer"}


def test_every_component_is_documented_down_to_its_fields() -> None:
    missing: list[str] = []
    for kind, entry in built_in_entries():
        place = f"{entry.origin}: {kind} {entry.name}"
        if not own_doc(entry.cls):
            missing.append(f"{place} has no docstring")
        if not own_doc(entry.config):
            missing.append(f"{place}: {entry.config.__name__} has no docstring")
        described = field_help(entry.config)  # type: ignore[arg-type] # a class is hashable
        missing += [
            f"{place}: {entry.config.__name__}.{field.name} has no help"
            for field in dataclasses.fields(entry.config)
            if field.name not in described
        ]
    assert not missing, "\n".join(missing)


def test_every_components_config_is_its_own_dataclass_with_defaults() -> None:
    for _, entry in built_in_entries():
        assert issubclass(entry.config, ComponentConfig)
        assert dataclasses.is_dataclass(entry.config)
        entry.config(name=entry.name)
