import json
from pathlib import Path

import pytest
from ranks import run_ranks, said
from toy_command import PLUGIN, overrides
from toy_run import toy_config, write_toy_text

from seqtrain.plugins import load_plugins
from seqtrain_cli import evaluate, generate
from seqtrain_cli.command import Command


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few updates, on data of which the last rank of three gets one example less."""
    folder = tmp_path_factory.mktemp("evaluated")
    load_plugins([str(PLUGIN)])
    text = write_toy_text(folder / "text", num_valid=10)
    config = toy_config(
        text,
        folder / "run",
        optimization={"max_update": 12, "max_epoch": 0},
        task={"scorers": ["wer", "bleu"]},
    )
    words = [f"plugins=[{PLUGIN}]", *overrides(config)]
    assert run_ranks(words, 1, folder / "out") == [0], said(folder / "out")
    return folder / "run"


def output(run_dir: Path, command: Command, world_size: int, *more: str) -> str:
    """Returns what a command writes into its file."""
    folder = run_dir.with_name(f"{command.name}-{world_size}-{len(more)}")
    file = folder / "output"
    words = [f"checkpoint={run_dir}", f"output={file}", "max_tokens=12", "device=cpu", *more]
    codes = run_ranks(words, world_size, folder, command=command)
    assert codes == [0] * world_size, said(folder)
    for rank in range(1, world_size):  # one process speaks for all
        assert (folder / f"out.{rank}").read_text() == ""
    return file.read_text()


@pytest.mark.parametrize("world_size", [2, 3])
def test_generation_gives_the_same_lines_in_order_on_any_number_of_ranks(
    run_dir: Path, world_size: int
) -> None:
    expected = [json.loads(line) for line in output(run_dir, generate.COMMAND, 1).splitlines()]
    found = [
        json.loads(line) for line in output(run_dir, generate.COMMAND, world_size).splitlines()
    ]
    assert [row["id"] for row in found] == list(range(10))
    texts = [[[h["text"] for h in row["hypotheses"]] for row in rows] for rows in (found, expected)]
    assert texts[0] == texts[1]
    scores = [[h["score"] for row in rows for h in row["hypotheses"]] for rows in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@pytest.mark.parametrize("world_size", [2, 3])
def test_evaluation_counts_every_example_once_on_any_number_of_ranks(
    run_dir: Path, world_size: int
) -> None:
    expected = json.loads(output(run_dir, evaluate.COMMAND, 1))
    found = json.loads(output(run_dir, evaluate.COMMAND, world_size))
    assert found.keys() == expected.keys()
    numbers = {name for name, value in expected.items() if isinstance(value, float)}
    assert {"test_loss", "test_wer", "test_bleu"} <= numbers
    for name in numbers:
        assert found[name] == pytest.approx(expected[name], rel=1e-6), name
