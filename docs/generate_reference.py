"""What mkdocs adds to the pages of this folder: the reference, and pages that lie elsewhere.

The reference comes from registries, dataclasses and the help of commands; nothing is copied by
hand. READMEs of examples and benchmarks become pages, and links to them lead there. Links to other
files of the project lose their address, since those are not on the site.

`python docs/generate_reference.py` writes the table of options into docs/from_fairseq.md; a test
compares the two.
"""

import ast
import html
import inspect
import os.path
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from seqtrain.plugins import import_built_ins
from seqtrain.registry import Entry, Registry, registries
from seqtrain.training.run_config import RunConfig
from seqtrain_cli.described_fields import DescribedField, described_fields, run_sections
from seqtrain_cli.fairseq_flags import INSTEAD, KEYS, SWITCH_VALUES
from seqtrain_cli.info_pages import provider

ROOT = Path(__file__).resolve().parent.parent
FROM_FAIRSEQ = ROOT / "docs/from_fairseq.md"
TABLE_MARKS = ("<!-- options: begin -->", "<!-- options: end -->")
ADOPTED_PATTERNS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md",
                    "benchmarks/*.md", "examples/*/*.md")  # fmt: skip
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs: adds what is not in this folder."""
    from mkdocs.structure.files import File

    pages = reference_pages()
    for source, address in adopted().items():
        pages[address] = (ROOT / source).read_text(encoding="utf-8")
    for address, content in pages.items():
        if (of_clone := files.get_file_from_path(address)) is not None:
            files.remove(of_clone)  # it stands in for the page where no site is built
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Called by mkdocs: turns links between files of the project into links between pages."""
    address = page.file.src_uri
    source = {page: path for path, page in adopted().items()}.get(address, f"docs/{address}")
    return with_links_of_site(markdown, source, address)


def adopted() -> dict[str, str]:
    """Returns {path in the project: address of its page} of the pages that lie elsewhere."""
    found = {}
    for pattern in ADOPTED_PATTERNS:
        for path in sorted(ROOT.glob(pattern)):
            source = path.relative_to(ROOT).as_posix()
            found[source] = f"project/{source.removesuffix('.md').replace('/', '_').lower()}.md"
    return found


def with_links_of_site(markdown: str, source: str, address: str) -> str:
    """Returns a page with links that hold on the site.

    Args:
        markdown: The page.
        source: Its path in the project, from which its links are meant.
        address: Its address on the site.
    """
    pages = adopted()

    def on_site(match: re.Match[str]) -> str:
        text, target, place = match[1], match[2], match[3] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = os.path.normpath(PurePosixPath(source).parent / target)
        page = pages.get(path) or pages.get(f"{path}/README.md")
        if page is None and path.startswith("docs/"):
            page = path.removeprefix("docs/")
        if page is None:
            return text
        return f"[{text}]({os.path.relpath(page, PurePosixPath(address).parent)}{place})"

    return _LINK.sub(on_site, markdown)


def reference_pages() -> dict[str, str]:
    """Returns the content of each page of the reference by its address."""
    import_built_ins()
    pages = {
        f"reference/{kind}.md": "\n".join(_kind(kind)) for kind, registry in registries().items()
    }
    pages["reference/settings.md"] = "\n".join(_settings())
    pages["reference/commands.md"] = "\n".join(_commands())
    pages["reference/index.md"] = "\n".join(_index())
    return pages


def option_table() -> str:
    """Returns the table of fairseq's flags."""
    rows = ["| fairseq | here |", "|---|---|"]
    answers = {}
    for flag, key in KEYS.items():
        value = f"={SWITCH_VALUES[flag]}" if flag in SWITCH_VALUES else ""
        answers[flag] = f"`{key}{value}`"
    answers |= {flag: reason.replace("|", "\\|") for flag, reason in INSTEAD.items()}
    rows += [f"| `{'-' * min(len(flag), 2)}{flag}` | {answers[flag]} |" for flag in sorted(answers)]
    return "\n".join(rows)


def with_option_table(page: str) -> str:
    """Returns the page with the table between its marks."""
    begin, end = TABLE_MARKS
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{option_table()}\n{end}{after}"


def _index() -> Iterator[str]:
    yield "# Reference\n\nMade from the code. `seqtrain-info` says the same in a terminal.\n"
    yield "- [Commands](commands.md)\n- [Settings of a run](settings.md)\n"
    yield "| kind | components |\n|---|---|"
    for kind, registry in sorted(registries().items()):
        yield f"| [{kind}]({kind}.md) | {', '.join(f'`{name}`' for name in _built_in(registry))} |"


def _built_in(registry: Registry[Any]) -> list[str]:
    """Returns names without those of plug-ins, which a machine may have installed."""
    return [name for name in registry.names() if provider(registry.get(name).cls) == "built-in"]


def _kind(kind: str) -> Iterator[str]:
    registry = registries()[kind]
    yield f"# {kind}\n\nInterface: `{registry.base.__module__}.{registry.base.__qualname__}`.\n"
    for name in _built_in(registry):
        yield from _component(kind, registry.get(name))


def _component(kind: str, entry: Entry[Any]) -> Iterator[str]:
    source = Path(inspect.getsourcefile(entry.cls) or "").relative_to(ROOT)
    summary = (inspect.getdoc(entry.cls) or "").partition("\n\n")[0]
    yield f"## {entry.name}\n\n{_text(summary)}\n"
    yield f"In `{source}`, class `{entry.cls.__qualname__}`.\n"
    prefix = f"{kind}.{entry.name}." if registries()[kind].many else f"{kind}."
    yield from _table(described_fields(entry.config(name=entry.name), prefix))


def _settings() -> Iterator[str]:
    yield "# Settings of a run\n\nThe components that are chosen by name have pages of their own.\n"
    yield "## Outside of sections\n"
    fields = described_fields(RunConfig())
    yield from _table(f for f in fields if "." not in f.key and f.key not in registries())
    for name, config in run_sections().items():
        yield f"## {name}\n\n{_text((inspect.getdoc(config) or '').partition(chr(10) * 2)[0])}\n"
        yield from _table(described_fields(config, f"{name}."))


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for script, target in sorted(project["scripts"].items()):
        path = ROOT / f"{target.partition(':')[0].replace('.', '/')}.py"
        if path.is_file():
            help_text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            yield f"## {script}\n\n```text\n{help_text}\n```\n"


def _table(fields: Iterator[DescribedField]) -> Iterator[str]:
    rows = [
        f"| `{field.key}` | {_code(field.type)} | {_code(field.default)} | {_text(field.help)} |"
        for field in fields
    ]
    if rows:
        yield "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _code(text: str) -> str:
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _text(text: str) -> str:
    """Returns text for a cell: only code in backquotes keeps its meaning."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        parts = ["'".join(parts)]
    plain = [html.escape(part).translate({42: "&#42;", 124: "&#124;"}) for part in parts]
    plain[1::2] = [_code(part) for part in parts[1::2]]
    return "".join(plain)


if __name__ == "__main__":
    page = FROM_FAIRSEQ.read_text(encoding="utf-8")
    FROM_FAIRSEQ.write_text(with_option_table(page), encoding="utf-8")
