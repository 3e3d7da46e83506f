"""seqtrain-average on a real run, and what the other commands make of its result."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_run import toy_config, write_toy_text

from seqtrain.checkpoint.load import read_checkpoint, resolve
from seqtrain.pipeline import train
from seqtrain_cli import average, evaluate, generate
from seqtrain_cli.entry import run_command


@pytest.fixture(scope="module", autouse=True)
def no_installed_plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
        patch.delenv("SEQTRAIN_PLUGINS", raising=False)
        yield


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("average")
    every = {"save_interval_updates": 2, "keep_last": 4}
    limits = {"max_update": 6, "max_epoch": 0}
    config = toy_config(
        write_toy_text(folder / "text"), folder / "run", checkpoint=every, optimization=limits
    )
    train(config)
    return folder / "run"


def run(*words: str) -> int:
    return run_command(average.COMMAND, words)


def test_the_average_can_be_evaluated_and_searched_with(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(f"inputs={run_dir}", "last=2", f"output={out}") == 0
    said = capsys.readouterr().out
    assert said.count("averaging ") == 2
    assert f"written to {out / 'step-0000000006'}" in said
    words = [f"checkpoint={out}", "device=cpu"]
    assert run_command(evaluate.COMMAND, [*words, "split=valid", "generate=false"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["valid_loss"] > 0
    assert run_command(generate.COMMAND, [*words, f"output={tmp_path / 'text.jsonl'}"]) == 0
    assert len((tmp_path / "text.jsonl").read_text().splitlines()) == 9


def test_named_checkpoints_of_several_folders_are_averaged(run_dir: Path, tmp_path: Path) -> None:
    steps = [run_dir / "checkpoints" / f"step-{update:010d}" for update in (2, 4)]
    assert run(f"inputs=[{steps[0]},{steps[1]}]", f"output={tmp_path}") == 0
    mean = read_checkpoint(resolve(tmp_path)).parts["model"]
    first, second = (read_checkpoint(step).parts["model"] for step in steps)
    for name, value in mean.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["output=OUT"], "inputs is not set"),
        (["inputs=RUN", "last=2"], "output is not set"),
        (["inputs=RUN", "output=OUT"], "last=5, best=5, or from_update="),
        (["inputs=RUN", "output=OUT", "last=9"], "does not hold 9 checkpoints"),
        (["inputs=[RUN,RUN]", "output=OUT", "last=2"], "choose among the checkpoints of one run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    filled = [w.replace("RUN", str(run_dir)).replace("OUT", str(tmp_path / "out")) for w in words]
    assert run(*filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
