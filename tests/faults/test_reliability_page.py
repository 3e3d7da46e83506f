"""The page on reliability names tests that exist, one or more for each fault."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_fault_has_a_test_and_every_named_test_exists() -> None:
    rows = {row[1]: row[0] for row in re.finditer(r"^\| (F\d+) \|.*$", PAGE, flags=re.M)}
    assert list(rows) == [f"F{number}" for number in range(1, 38)]
    for fault, row in rows.items():
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", row)
        assert named, fault
        for file, test in named:
            assert test in functions_of(ROOT / file), f"{fault}: {file}::{test}"


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
