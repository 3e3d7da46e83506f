"""Papers of the project agree with it: workflows, citation, container, security."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from seqtrain import __version__

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_nothing_but_targets_of_the_makefile(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    for job in jobs.values():
        parts = job.get("strategy", {}).get("matrix", {}).get("part", [""])
        lines = [step["run"] for step in job["steps"] if "run" in step]
        wanted = {line.replace("${{ matrix.part }}", part) for line in lines for part in parts}
        assert wanted
        assert wanted <= {f"make {target}" for target in TARGETS}


def test_ci_has_every_part_of_the_tests_and_every_tested_python() -> None:
    matrix = yaml.safe_load(WORKFLOWS[0].read_text())["jobs"]["tests"]["strategy"]["matrix"]
    makefile = (ROOT / "Makefile").read_text()
    (parts,) = re.findall(r"^test: (.*)$", makefile, re.MULTILINE)
    assert set(matrix["part"]) == set(parts.split())
    named = {text.rpartition(" ")[2] for text in project()["classifiers"] if ":: 3." in text}
    assert set(matrix["python"]) == named


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == project()["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_container_copies_what_there_is_and_installs_extras_that_there_are() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    sources = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert [name for name in sources if not (ROOT / name).exists()] == []
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert [name for name in sources if f"!{name}" not in allowed] == []
    (extras,) = re.findall(r"/src\[([\w,]+)\]", "\n".join(lines))
    assert set(extras.split(",")) <= project()["optional-dependencies"].keys()


def test_the_page_of_dependencies_names_every_dependency_and_every_extra() -> None:
    page = (ROOT / "docs/dependencies.md").read_text()
    packages = [re.split(r"[<>=\[]", text)[0] for text in project()["dependencies"]]
    assert [name for name in packages if f"{name}" not in page] == []
    for_developers = {"dev", "bench", "references"}
    extras = project()["optional-dependencies"].keys() - for_developers
    assert [name for name in sorted(extras) if f"`{name}`" not in page] == []
    places = re.findall(r"`(seqtrain/[\w/.]+)`", page)
    assert [name for name in places if not (ROOT / name).exists()] == []
