"""The pages of docs/ do what they say: each is run from its first block to its last."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from page_commands import blocks_of, execute, standard_error

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TESTED_ELSEWHERE = {"export.md"}
"""Pages whose blocks need packages that are extras; tests beside their code run the same."""
PAGES = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.glob("**/*.md"))
    if path.name not in TESTED_ELSEWHERE
}
RUN = [name for name, page in PAGES.items() if "```bash" in page]
LINKING = [
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in sorted(ROOT.glob(pattern))
]
# Threads of torch do not survive a fork.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate_reference.py."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RUN)
def test_every_block_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    errors = tmp_path / "errors"
    home = tmp_path / "home"
    home.mkdir()
    names: dict[str, object] = {}
    for block in blocks_of(PAGES[name]):
        monkeypatch.chdir(home / block.folder)
        if block.language == "python":
            exec(compile(block.content, name, "exec"), names)
        if block.language != "bash" or block.not_run:
            continue
        for line in block.commands():
            with standard_error(errors):
                exit_code = execute(line, generation__beam="1", generation__max_len_b="5")
            assert (line, exit_code, errors.read_text()) == (line, 0, "")


def test_a_block_that_is_not_run_says_why() -> None:
    for name, page in PAGES.items():
        for block in blocks_of(page):
            assert block.language in ("bash", "python", "text", ""), name
            assert block.language == "bash" or "\nseqtrain-" not in f"\n{block.content}", name
            if block.not_run:
                assert len(block.not_run) > 20, name


def test_the_table_of_fairseq_flags_is_that_of_the_code(generator: ModuleType) -> None:
    page = PAGES["from_fairseq.md"]
    assert generator.with_option_table(page) == page, "run python docs/generate_reference.py"


def test_the_reference_has_every_component_and_every_command(generator: ModuleType) -> None:
    pages = generator.reference_pages()
    assert (
        "| `model.encoder_layers` | <code>int</code> | <code>3</code> |"
        in pages["reference/model.md"]
    )
    assert "## transformer_lm\n" in pages["reference/model.md"]
    assert "`optimization.max_update`" in pages["reference/settings.md"]
    assert "## seqtrain-new-plugin\n" in pages["reference/commands.md"]
    assert "log_writer.console" in pages["reference/log_writer.md"]
    assert pages["reference/index.md"] != PAGES["reference/index.md"]  # which is for a clone


def test_every_relative_link_of_readme_docs_and_examples_leads_to_a_file_and_a_heading() -> None:
    found = 0
    for path in LINKING:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target, place in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            found += 1
            linked = path.parent / target if target else path
            assert linked.exists(), f"{path.relative_to(ROOT)}: {target}"
            if place:
                headings = re.findall(
                    r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE
                )
                assert place[1:] in map(anchor, headings), f"{path.relative_to(ROOT)}: {place}"
    assert found > 50


def anchor(heading: str) -> str:
    """Returns the name that a heading has in links."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_the_readme_leads_to_the_tutorial_every_howto_page_and_the_concepts() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = ["tutorial.md", "concepts.md", *(name for name in PAGES if name.startswith("howto/"))]
    assert [name for name in wanted if f"](docs/{name})" not in readme] == []


def test_links_between_files_become_links_between_pages(generator: ModuleType) -> None:
    text = "[a](../../examples/translation/README.md#b) [c](../concepts.md) [d](../../Makefile)"
    assert generator.with_links_of_site(text, "docs/howto/x.md", "howto/x.md") == (
        "[a](../project/examples_translation_readme.md#b) [c](../concepts.md) d"
    )
    text = "[translation](examples/translation) [docs](docs/reliability.md)"
    assert generator.with_links_of_site(text, "README.md", "project/readme.md") == (
        "[translation](examples_translation_readme.md) [docs](../reliability.md)"
    )
