"""Runs what a page of Markdown shows: commands in this process, with few updates."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import pytest

from seqtrain_cli.entry import run_command

FEW_UPDATES = {"optimization.max_update": "3", "device": "cpu"}
"""Set for seqtrain-train: the first always, others except where the page sets them."""
_FENCED = re.compile(
    r"(?:^<!-- (not run|in): (.*?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        language: "bash", "python" ...; empty if none is named.
        content: Its lines.
        not_run: Why it is not run, as the comment above it says; empty if it is.
        folder: Where its commands are typed.
    """

    language: str
    content: str
    not_run: str
    folder: str

    def commands(self) -> list[str]:
        """Returns the lines of a bash block without comments."""
        bare = [re.sub(r"\s#\s.*$", "", line).strip() for line in self.content.splitlines()]
        return [line for line in bare if line and not line.startswith("#")]


def blocks_of(markdown: str) -> list[Block]:
    """Returns the fenced blocks of a page, in their order."""
    return [
        Block(language, content, note if mark == "not run" else "", note if mark == "in" else ".")
        for mark, note, language, content in _FENCED.findall(markdown)
    ]


def execute(line: str, **settings: str) -> int:
    """Runs a command in this process and returns its exit code; an unknown one fails the test.

    Args:
        line: As it is typed. `echo TEXT | COMMAND` gives the text to the command.
        settings: Further words of seqtrain-train, dots as two underscores, except where the line
            sets them.
    """
    words = shlex.split(line)
    if words[0] == "echo" and words[2] == "|":
        with standard_input(f"{words[1]}\n"):
            return execute(shlex.join(words[3:]), **settings)
    program, arguments = words[0], words[1:]
    if words[:3] == ["python", "-m", "pytest"]:
        return subprocess.run([sys.executable, *arguments], check=False).returncode
    if not re.fullmatch(r"seqtrain-[a-z-]+", program):
        pytest.fail(f"the page has a command that cannot be run here: {line}")
    name = program.removeprefix("seqtrain-").replace("-", "_")
    module = importlib.import_module(f"seqtrain_cli.{'import_' if name == 'import' else name}")
    if program == "seqtrain-train" and "--cfg" not in arguments:
        given = {word.partition("=")[0] for word in arguments} - {"optimization.max_update"}
        more = FEW_UPDATES | {key.replace("__", "."): value for key, value in settings.items()}
        arguments += [f"{key}={value}" for key, value in more.items() if key not in given]
    if hasattr(module, "COMMAND"):
        return run_command(module.COMMAND, arguments)
    exit_code: int = module.main(arguments)
    return exit_code


@contextmanager
def standard_error(path: Path) -> Iterator[None]:
    """Writes what this process and its children say on standard error to a file."""
    before = os.dup(2)
    try:
        with path.open("w") as file, redirect_stderr(file):
            os.dup2(file.fileno(), 2)
            yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def standard_input(text: str) -> Iterator[None]:
    """Gives a text to whoever reads descriptor 0."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reading)
