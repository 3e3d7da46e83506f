"""The README does what it says: every command in it runs, in its order, with few updates."""

import io
import json
import random
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from page_commands import blocks_of, execute, standard_error

from seqtrain.plugins import load_plugins
from seqtrain_cli import train
from seqtrain_cli.entry import run_command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_RUN = ["pip install -c constraints.txt -e '.[sentencepiece]'"]
"""Commands of the README that change the environment; every other one is run."""
Finished = dict[str, tuple[int, str]]
PROMISED = [
    "data/text/card.json",
    "runs/text/checkpoints/best.json",
    "runs/text/checkpoints/step-0000000003/manifest.json",
    "runs/text/config.json",
    "runs/text/metrics.jsonl",
    "runs/text/tensorboard",
    "runs/text/test_metrics.json",
    "runs/two/checkpoints/step-0000000003/manifest.json",
    "runs/tiny/checkpoints/step-0000000003/manifest.json",
]
BLOCKS = blocks_of(README)


def blocks(language: str) -> list[str]:
    """Returns the fenced blocks of one language."""
    return [block.content for block in BLOCKS if block.language == language]


def shell_commands() -> list[str]:
    """Returns the lines of all bash blocks without comments."""
    return [line for block in BLOCKS if block.language == "bash" for line in block.commands()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds what a reader of the README has: two languages of text, and a model of their own."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "text").mkdir()
    rng = random.Random(5)
    words = {"a": "ein", "dog": "Hund", "cat": "Katze", "runs": "läuft", "sleeps": "schläft"}
    for split, count in (("train", 80), ("valid", 8), ("test", 8)):
        rows = [rng.choices(list(words), k=rng.randint(2, 6)) for _ in range(count)]
        english = "".join(" ".join(row) + " .\n" for row in rows)
        german = "".join(" ".join(words[word] for word in row) + " .\n" for row in rows)
        (folder / f"text/{split}.en").write_text(english, encoding="utf-8")
        (folder / f"text/{split}.de").write_text(german, encoding="utf-8")
    (plugin,) = [block for block in blocks("python") if "register_model" in block]
    (folder / "my_model.py").write_text(plugin, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Exit code and errors by command, after all were run in the folder in the README's order."""
    errors = tmp_path_factory.mktemp("errors") / "stderr"
    ends = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        for line in shell_commands():
            if line not in NOT_RUN:
                with standard_error(errors):
                    exit_code = execute(line, model="transformer_tiny")
                ends[line] = (exit_code, errors.read_text())
    return ends


def test_every_command_ends_well_and_without_a_warning(finished: Finished) -> None:
    assert finished == dict.fromkeys(finished, (0, ""))
    assert len(finished) >= 10


def test_the_commands_that_are_not_run_are_those_that_install() -> None:
    assert set(NOT_RUN) <= set(shell_commands())
    assert all(line.startswith(("pip install ", "make ")) for line in NOT_RUN)


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    assert {block.language for block in BLOCKS} == {"", "bash", "python"}
    assert blocks("")[0] == "make demo\n"
    assert "demo:" in (ROOT / "Makefile").read_text()
    assert len(blocks("")) == 2, "besides, the block with the output of `make demo`"


def test_the_promised_files_are_there(finished: Finished, folder: Path) -> None:
    assert [name for name in PROMISED if not (folder / name).exists()] == []
    rows = [json.loads(x) for x in (folder / "runs/text/metrics.jsonl").read_text().splitlines()]
    assert {row["event"] for row in rows} >= {"valid", "test"}
    assert "test_bleu" in json.loads((folder / "runs/text/test_metrics.json").read_text())


def test_a_dry_run_writes_nothing(finished: Finished, folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"text", "my_model.py", "data", "runs", "exported"}
    assert {path.name for path in (folder / "runs").iterdir()} == {"text", "two", "tiny"}


def test_two_processes_end_where_one_with_twice_the_micro_batches_ends(
    finished: Finished, folder: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (line,) = [line for line in finished if "distributed.num_processes=2" in line]
        alone = line.replace("distributed.num_processes=2", "optimization.update_freq=2")
        alone = alone.replace("runs/two", "runs/one")
        assert execute(alone, model="transformer_tiny") == 0
    name = "checkpoints/step-0000000003/model.safetensors"
    one, two = (folder / "runs" / run / name for run in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_the_python_entry_prints_a_translation(finished: Finished, folder: Path) -> None:
    (block,) = [block for block in blocks("python") if "pipeline" in block]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        exec(compile(block, "README.md", "exec"), {})
    assert re.fullmatch(r"\['.*'\]\n", printed.getvalue())


def test_the_plugin_has_its_option(finished: Finished, folder: Path) -> None:
    config = json.loads((folder / "runs/tiny/config.json").read_text())
    assert (config["model"]["name"], config["model"]["dim"]) == ("tiny", 96)


def settings_in_the_table() -> list[str]:
    """Returns the settings of the table that are written out as key=value."""
    _, _, section = README.partition("## Settings that people need")
    table = section.partition("\n## ")[0]
    cells = [word for cell in re.findall(r"`([^`]*)`", table) for word in shlex.split(cell)]
    return [cell for cell in cells if "=" in cell and not cell.endswith(("=NAME", "=..."))]


def test_every_setting_of_the_table_is_accepted(capfd: pytest.CaptureFixture[str]) -> None:
    settings = [word for word in settings_in_the_table() if not word.startswith("plugins=")]
    assert len(settings) >= 12
    assert run_command(train.COMMAND, ["--cfg", "job", *settings]) == 0
    printed: Any = capfd.readouterr().out
    assert "maximize_best_metric: true" in printed


def test_every_file_that_the_readme_names_is_in_the_project() -> None:
    load_plugins([])
    named = set(re.findall(r"`((?:examples|seqtrain|config|tests)/[\w./-]+)`?", README))
    assert named
    assert sorted(name for name in named if "NAME" not in name and not (ROOT / name).exists()) == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 250
