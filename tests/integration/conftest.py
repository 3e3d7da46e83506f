"""Real runs of the toy task, by the commands in this process or from Python."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from toy_run import write_toy_text

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command

# Threads of torch do not survive a fork.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Outcome:
    """What a command line led to."""

    exit_code: int
    out: str
    error: str


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def no_installed_plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
        patch.delenv("SEQTRAIN_PLUGINS", raising=False)
        yield


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """The toy text in a folder of its own."""
    return write_toy_text(tmp_path / "text")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with these words, as its console script would."""

    def run_words(command: Command, *words: str) -> Outcome:
        capfd.readouterr()
        exit_code = run_command(command, list(words))
        captured = capfd.readouterr()
        return Outcome(exit_code, captured.out, captured.err)

    return run_words


@pytest.fixture
def refused(run: Run) -> Run:
    """Runs a command that must end with an exit code and one line that holds every text."""

    def run_refused(exit_code: int, texts: list[str], command: Command, *words: str) -> Outcome:
        outcome = run(command, *words)
        assert outcome.exit_code == exit_code, outcome
        assert outcome.error.startswith(f"{command.program}: error: ")
        assert outcome.error.count("\n") == 1
        for expected in texts:
            assert expected in outcome.error
        return outcome

    return run_refused
