"""The Python entry does what the commands do: train(dict), load(run)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from toy_run import run_forked, toy_config, write_toy_text

from seqtrain.errors import UnknownNameError
from seqtrain.pipeline import Pipeline, load, train
from seqtrain.plugins import load_plugins
from seqtrain_cli import evaluate, generate, preprocess

PLUGIN = '''
from dataclasses import dataclass
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.models.base import register_model

@dataclass(kw_only=True)
class Config(LSTMConfig):
    """A model of its own."""

@register_model("only_in_plugin", config=Config)
class Model(LSTMModel):
    """A model of its own."""
'''
LINES = ["a b c", "f", "", "e d c b a", "a unknown b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `text` and a `run` on it, made by train(dict)."""
    folder = tmp_path_factory.mktemp("pipeline")
    text = write_toy_text(folder / "text")
    config = toy_config(text, folder / "run", validation={"test_generate": True})
    result = train(config)
    assert result.num_updates == 24
    assert result.test.keys() >= {"loss", "wer"}
    return folder


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return load(folder / "run", device="cpu")


def best_texts(output: str) -> list[str]:
    return [json.loads(line)["hypotheses"][0]["text"] for line in output.splitlines()]


@pytest.mark.parametrize("beam", [1, 4])
def test_translate_gives_what_the_command_prints(
    run: Any, folder: Path, pipeline: Pipeline, tmp_path: Path, beam: int
) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    words = [f"checkpoint={folder / 'run'}", f"input={path}", "device=cpu"]
    outcome = run(generate.COMMAND, *words, f"generation.beam={beam}")
    assert outcome.exit_code == 0
    assert pipeline.translate(LINES, beam=beam) == best_texts(outcome.out)


def test_lines_and_a_split_of_the_same_text_give_the_same(
    run: Any, folder: Path, pipeline: Pipeline
) -> None:
    outcome = run(generate.COMMAND, f"checkpoint={folder / 'run'}", "split=test", "device=cpu")
    lines = (folder / "text/test.x").read_text().splitlines()
    assert pipeline.translate(lines) == best_texts(outcome.out)


def test_evaluate_gives_what_training_wrote_at_the_end(
    run: Any, folder: Path, pipeline: Pipeline
) -> None:
    written = json.loads((folder / "run/test_metrics.json").read_text())
    assert written.pop("num_updates") == 24
    values = pipeline.evaluate("test", pipeline.config.generation, generate=True).values
    assert {f"test_{name}": value for name, value in values.items()} == written
    outcome = run(evaluate.COMMAND, f"checkpoint={folder / 'run'}", "device=cpu")
    printed = json.loads(outcome.out)
    assert {name: printed[name] for name in written} == written


def test_a_loaded_model_needs_its_data_only_for_splits(folder: Path, tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    train(toy_config(text, tmp_path / "run", optimization={"max_update": 1}))
    for path in text.iterdir():
        path.unlink()
    assert len(load(tmp_path / "run", device="cpu").translate(LINES)) == len(LINES)


def test_a_checkpoint_without_its_plugin_names_what_is_missing(
    run: Any, folder: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "my_model.py"
    plugin.write_text(PLUGIN)
    config = toy_config(folder / "text", tmp_path / "run", optimization={"max_update": 1})
    config["model"] = {"name": "only_in_plugin", "dim": 8}
    config["plugins"] = [str(plugin)]
    # In a process of its own, so that the plug-in is not known here.
    assert run_forked(lambda: train(config)) == 0
    with pytest.raises(UnknownNameError) as refusal:
        load(tmp_path / "run")
    assert "No model named 'only_in_plugin'" in str(refusal.value)
    # Among them: this process has loaded others for other tests, and they are recorded as well.
    assert re.search(rf"trained with the plug-ins .*{plugin}: if you trust", str(refusal.value))
    words = [f"checkpoint={tmp_path / 'run'}", "device=cpu"]
    outcome = run(evaluate.COMMAND, *words)
    assert (outcome.exit_code, outcome.error.count("\n")) == (2, 1)
    assert re.search(rf"give plugins=\[.*{plugin}\]\.", outcome.error)
    assert run(evaluate.COMMAND, *words, f"plugins=[{plugin}]").exit_code == 0
    load_plugins([str(plugin)])
    assert len(load(tmp_path / "run", device="cpu").translate(["a b"])) == 1


def test_data_of_another_vocabulary_is_refused_not_scored(
    run: Any, refused: Any, folder: Path, tmp_path: Path
) -> None:
    text = write_toy_text(tmp_path / "text")
    for path in text.iterdir():
        path.write_text(path.read_text().replace("a", "z"))
    words = [f"task.{split}={text / split}" for split in ("train", "valid", "test")]
    words += ["task.source=x", "task.target=y", "task.tokenizer=word", f"out={tmp_path / 'data'}"]
    assert run(preprocess.COMMAND, *words).exit_code == 0
    for command in (evaluate.COMMAND, generate.COMMAND):
        words = [f"checkpoint={folder / 'run'}", f"data={tmp_path / 'data'}", "device=cpu"]
        refused(3, ["vocabulary", str(tmp_path / "data")], command, *words)
