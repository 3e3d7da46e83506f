"""Runs commands in this process: real composition, with a command that only checks the config."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seqtrain.training.run_config import RunConfig
from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command
from seqtrain_cli.train import COMMAND


@dataclass
class Outcome:
    """What a command line led to."""

    exit_code: int
    out: str
    error: str
    configs: list[RunConfig] = field(default_factory=list)

    @property
    def config(self) -> RunConfig:
        (config,) = self.configs
        return config


Compose = Callable[..., Outcome]


@pytest.fixture
def compose(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Compose:
    """Composes `seqtrain-train WORDS` in an empty folder and parses the result; trains nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQTRAIN_PLUGINS", raising=False)
    # The training processes of this suite may have plug-ins of their own installed.
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")

    def compose_words(*words: str, run: Callable[[dict[str, Any]], None] | None = None) -> Outcome:
        configs: list[RunConfig] = []

        def parse(container: dict[str, Any]) -> float:
            configs.append(RunConfig.parse(container))
            return 0.5

        command = Command(COMMAND.name, COMMAND.help, run or parse)
        exit_code = run_command(command, list(words))
        captured = capsys.readouterr()
        return Outcome(exit_code, captured.out, captured.err, configs)

    return compose_words
