"""Command lines and experiment files with random mistakes: taken, or one line and exit code 2."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bounded_cases import Case, require_documented, run_cases
from toy_command import overrides
from toy_run import toy_config

from seqtrain.errors import SeqtrainError
from seqtrain.plugins import load_plugins
from seqtrain.training.run_config import RunConfig
from seqtrain_cli import train
from seqtrain_cli.command import Command
from seqtrain_cli.compose import compose_and_run

torch.set_num_threads(1)

VALUES = [
    "",
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "true",
    "null",
    "x",
    "[]",
    "[1,2]",
    "{}",
    "{a: 1}",
    "'",
    '"',
    "[",
    "{a",
    "1,2",
    "${oc.env:HOME}",
    "${seed}",
    "${nothing}",
    "???",
    "9" * 30,
    "a" * 3000,
    "\\",
    "a=b",
    "é",
    "\u2028",
    "\x00",
    "-",
    "--",
    "*",
    "range(1,3)",
    "choice(1,2)",
    "glob(*)",
    "!!python/name:os.system",
    "../..",
    "1.5",
    "0x10",
    "[[[[[[1]]]]]]",
    "${oc.create:{a:1}}",
    "sort(3,2)",
    "int(3)",
    "extend_list(1)",
]
KEYS = [
    "",
    ".",
    "..",
    "model",
    "model.",
    ".model",
    "model.dim.x",
    "hydra",
    "plugins",
    "task@",
    "task@x",
    "model/",
    "/model",
    "+model",
    "~model",
    "++x",
    "+x.y.z",
    "~",
    "a b",
    "model.name",
    "callback",
    "log_writer",
    "callback.x",
    "lr",
    "optimizer.lrr",
    "hydra/launcher",
    "experiment",
    "experiment/x",
    "_target_",
    "model._target_",
    "defaults",
    "debug",
]
TEXTS = [
    "",
    "# @package _global_\n",
    "a: b: c",
    "a: [1",
    "\t- x",
    "- 1\n- 2\n",
    "just text",
    "a: &a [*a]",
    "!!python/object/apply:os.getcwd []",
    "defaults: 3",
    "defaults:\n  - /model: nothing",
    "defaults: [{/model: }]",
    "model: 3",
    "model:\n  dim: x",
    "seed: 2**",
    "{",
    "a: ${b}",
    "~: 1",
    "1: 2",
    "? {a: 1}\n: b",
    "seed: !!float x",
    "a: !unknown 1",
    "\ufeffseed: 2",
    "seed: 1\nseed: 2",
    "plugins: 5",
    "plugins: {a: b}",
    "a: " + "[" * 2000,
    "a: \x07",
    "seed: 1e999",
]


def mistaken_words(rng: random.Random, folder: Path) -> list[str]:
    """Returns the words of a whole run with one to three mistakes."""
    words = overrides(toy_config(folder / "text", folder / "run"))
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(words))
        key, _, value = words[place].partition("=")
        kind = rng.randrange(7)
        if kind == 0:
            words[place] = f"{key}={rng.choice(VALUES)}"
        elif kind == 1:
            words.append(f"{rng.choice(KEYS)}={rng.choice([value, rng.choice(VALUES)])}")
        elif kind == 2:
            letter = rng.randrange(len(key))
            words[place] = f"{key[:letter]}{rng.choice('xyz._-')}{key[letter + 1 :]}={value}"
        elif kind == 3:
            words[place] = rng.choice([key, f"--{key}", f"-{key}={value}", f"={value}", f"{key}=="])
        elif kind == 4:
            other = rng.choice(words).partition("=")[2]
            words[place] = f"{key}={other}"
        elif kind == 5:
            del words[place]
        else:
            words.insert(place, "".join(rng.choices("a=.,[]{}$~+'\"\\ :@/", k=rng.randint(1, 8))))
    return words


def with_experiment(rng: random.Random, folder: Path) -> list[str]:
    """Returns a command line that names an experiment file with odd content."""
    path = folder / "presets" / "experiment" / "odd.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "# @package _global_\nseed: 5\nmodel:\n  dim: 16\noptimizer:\n  lr: 0.1\n"
    if rng.random() < 0.5:
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice(TEXTS) + text[place + rng.randrange(9) :]
    else:
        text = rng.choice(TEXTS)
    path.write_text(text)
    words = overrides(toy_config(folder / "text", folder / "run"))
    return ["--config-dir", str(path.parent.parent), "experiment=odd", *words]


def cases_of(folder: Path, count: int, seed: int) -> Iterator[Case]:
    rng = random.Random(seed)
    command = Command("train", train.COMMAND.help, lambda container: _parse(container))
    for number in range(count):
        make = with_experiment if rng.random() < 0.2 else mistaken_words
        words = make(rng, folder)
        yield f"{number}: {words}", lambda words=words: _compose(command, words)


def _parse(container: dict[str, Any]) -> None:
    RunConfig.parse(container)


def _compose(command: Command, words: list[str]) -> None:
    try:
        compose_and_run(command, words)
    except SystemExit as ending:  # an option like --help among the mistakes
        if ending.code not in (0, None):
            raise SeqtrainError(f"exit {ending.code}") from ending


def check(folder: Path, count: int, seed: int) -> int:
    load_plugins([])
    before = set(folder.iterdir())
    outcomes = run_cases(cases_of(folder, count, seed))
    assert len(outcomes) == count
    require_documented(outcomes)
    refused = [outcome for outcome in outcomes if outcome.exit_code]
    for outcome in refused:
        assert outcome.exit_code == 2, outcome
    assert {path.name for path in set(folder.iterdir()) - before} <= {"presets"}
    return len(refused)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    monkeypatch.delenv("SEQTRAIN_PLUGINS", raising=False)


def test_40_mistaken_command_lines_are_taken_or_refused_in_one_line(tmp_path: Path) -> None:
    assert check(tmp_path, 40, seed=1) > 20


@pytest.mark.slow
def test_500_mistaken_command_lines_are_taken_or_refused_in_one_line(tmp_path: Path) -> None:
    refused = check(tmp_path, 500, seed=2)
    print(f"{refused} of 500 refused")  # noqa: T201 # figures, with -s
    assert refused > 300
