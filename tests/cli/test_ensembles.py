"""Several models as one, and a language model beside them: by the commands and from Python."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_run import write_toy_text

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.errors import ConfigError
from seqtrain.pipeline import load
from seqtrain.tasks.translation import TranslationTask
from seqtrain.training.answers.saved_run import TASKS
from seqtrain.training.build import build_model
from seqtrain.training.run_config import RunConfig
from seqtrain_cli import evaluate, generate, import_, preprocess
from seqtrain_cli.entry import run_command
from seqtrain_cli.inference import checkpoint_paths

MODELS = Path(__file__).parents[1] / "interop/fairseq_models"
SEARCH = ["device=cpu", "generation.beam=3", "generation.max_len_b=8", "generation.nbest=2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of two shapes with the same symbols."""
    folder = tmp_path_factory.mktemp("imported")
    for name in ("pre", "lstm"):
        words = [f"checkpoint={MODELS / f'{name}.pt'}", f"data={MODELS}", "trust=true"]
        assert run_command(import_.COMMAND, [*words, f"out={folder / name}"]) == 0
    return {name: folder / name for name in ("pre", "lstm")}


@pytest.fixture(scope="module")
def language_model(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained language model of the symbols that the runs write."""
    task = load(runs["pre"], "cpu").task
    assert isinstance(task, TranslationTask)
    return write_language_model(tmp_path_factory.mktemp("language_model"), task.target.state_dict())


def write_language_model(folder: Path, side: Any) -> Path:
    section = {"name": "lstm_lm", "dim": 8}
    container = {
        "run_dir": str(folder),
        "task": {"name": "language_modeling"},
        "model": section,
        "criterion": {"name": "cross_entropy"},
        "optimizer": {"name": "adam"},
        "lr_scheduler": {"name": "constant"},
    }
    config = RunConfig.parse(container)
    task = TASKS.get("language_modeling").cls.from_state(config.task, {"text": side})
    weights = build_model(config, task.context).state_dict()
    parts = {"config": config.to_container(), "task": task.state_dict(), "model": weights}
    return write_checkpoint(folder / "checkpoints", 1, parts | {"criterion": {}}, {"plugins": []})


def generated(folder: Path, checkpoint: str, *words: str) -> list[list[dict[str, Any]]]:
    output = folder / "out.jsonl"
    words = (f"checkpoint={checkpoint}", f"output={output}", *SEARCH, *words)
    assert run_command(generate.COMMAND, list(words)) == 0
    return [json.loads(line)["hypotheses"] for line in output.read_text().splitlines()]


def texts(rows: list[list[dict[str, Any]]]) -> list[list[str]]:
    return [[hypothesis["text"] for hypothesis in row] for row in rows]


def scores(rows: list[list[dict[str, Any]]]) -> torch.Tensor:
    return torch.tensor([value for row in rows for h in row for value in h["token_scores"]])


def test_an_ensemble_of_a_model_with_itself_says_what_the_model_says(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    one = generated(tmp_path, f"{runs['pre']}")
    both = generated(tmp_path, f"[{runs['pre']},{runs['pre']}]")
    assert texts(both) == texts(one)
    torch.testing.assert_close(scores(both), scores(one), rtol=0, atol=1e-5)


def test_an_ensemble_scores_a_reference_with_the_mean_of_the_probabilities(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    by_model = [
        scores(generated(tmp_path, f"{run}", "score_reference=true")) for run in runs.values()
    ]
    together = f"[{runs['pre']},{runs['lstm']}]"
    found = scores(generated(tmp_path, together, "score_reference=true"))
    expected = torch.stack(by_model).exp().mean(dim=0).log()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_an_ensemble_of_two_shapes_searches_as_its_scores_say(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    rows = generated(tmp_path, f"[{runs['pre']},{runs['lstm']}]")
    pipeline = load([runs["pre"], runs["lstm"]], "cpu")
    sources = [" ".join(f"a{index}" for index in range(1, 4))]
    options = {"beam": 3, "nbest": 2, "max_len_b": 8}
    generation = replace(pipeline.config.generation, **options)
    ((best, _),) = pipeline.generate_lines(sources, generation)
    (given,) = pipeline.score(sources, [best.text])
    assert given.token_scores == pytest.approx(best.token_scores, abs=1e-5)
    assert texts(rows) != texts(generated(tmp_path, f"{runs['pre']}"))


def test_evaluate_measures_the_ensemble_as_one_model(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    together = f"[{runs['pre']},{runs['lstm']}]"
    values = scores(generated(tmp_path, together, "score_reference=true"))
    words = [f"checkpoint={together}", "device=cpu", "generate=false"]
    capsys.readouterr()
    assert run_command(evaluate.COMMAND, words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["test_nll_loss"] == pytest.approx(-float(values.mean()), abs=1e-5)
    assert len(report["checkpoint"]) == 2


def test_a_language_model_at_weight_zero_changes_nothing(
    runs: dict[str, Path], language_model: Path, tmp_path: Path
) -> None:
    plain = generated(tmp_path, f"{runs['pre']}")
    named = f"language_model={language_model}"
    assert generated(tmp_path, f"{runs['pre']}", named, "generation.lm_weight=0") == plain


def test_a_language_model_adds_its_weighted_log_probabilities(
    runs: dict[str, Path], language_model: Path, tmp_path: Path
) -> None:
    words = (f"language_model={language_model}", "generation.lm_weight=0.5")
    fused = generated(tmp_path, f"{runs['pre']}", *words)
    pipeline = load(runs["pre"], "cpu")
    language = load(language_model, "cpu")
    dataset = pipeline.task_with_data().dataset("test")
    for index in (0, 1):
        best = fused[index][0]
        pieces = [int(piece[1:]) for piece in best["text"].split()]
        symbols = torch.tensor([[2, *(piece + 4 for piece in pieces), 2]])
        batch = dataset.batch(np.array([index]), 1)
        inputs = {"prev_output_tokens": symbols[:, :-1]}
        with torch.no_grad():
            of_model = pipeline.model(source_tokens=batch.inputs["source_tokens"], **inputs)
            of_language = language.model(**inputs)
        total = sum(
            weight * output.logits.log_softmax(dim=-1).gather(2, symbols[:, 1:, None])[0, :, 0]
            for weight, output in ((1.0, of_model), (0.5, of_language))
        )
        torch.testing.assert_close(torch.tensor(best["token_scores"]), total, rtol=0, atol=1e-5)


def test_models_that_do_not_fit_together_are_refused_in_one_line(
    runs: dict[str, Path], language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = load(runs["pre"], "cpu").task
    assert isinstance(task, TranslationTask)
    side = task.target.state_dict()
    side["vocabulary"]["symbols"][5] = "other"
    foreign = write_language_model(tmp_path / "foreign", side)
    cases = [
        (f"[{runs['pre']},{language_model}]", "", "of task=language_modeling"),
        (f"[{language_model},{foreign}]", "", "is 'other' and not 'b5'"),
        (f"{runs['pre']}", f"language_model={foreign}", "is 'other' and not 'b5'"),
        (
            f"{runs['pre']}",
            f"language_model={runs['lstm']}",
            "Name a run of task=language_modeling",
        ),
        (f"{runs['pre']}", "generation.lm_weight=0.3", "needs a language model: set"),
    ]
    for checkpoint, word, expected in cases:
        words = [f"checkpoint={checkpoint}", *SEARCH, *([word] if word else [])]
        capsys.readouterr()
        assert run_command(generate.COMMAND, words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert expected in error


@pytest.mark.parametrize("value", ["", [], {"a": 1}, [["a"]], None])
def test_what_names_no_checkpoint_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="checkpoint"):
        checkpoint_paths(value)


def test_a_language_model_can_be_prepared_with_the_targets_vocabulary(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    pairs = ["task=translation", "task.source=x", "task.target=y", "task.tokenizer=word"]
    pairs += [f"task.{split}={text / split}" for split in ("train", "valid", "test")]
    assert run_command(preprocess.COMMAND, [*pairs, f"out={tmp_path / 'pairs'}"]) == 0
    (tmp_path / "own").write_text("f e\na z\n")
    lines = [f"task.{split}=[{tmp_path / 'own'}]" for split in ("train", "valid", "test")]
    words = ["task=language_modeling", *lines, f"task.vocabulary_from={tmp_path / 'pairs'}"]
    assert run_command(preprocess.COMMAND, [*words, f"out={tmp_path / 'lines'}"]) == 0
    pair_task = TASKS.get("translation").cls.load(
        TASKS.parse({"name": "translation", "data": str(tmp_path / "pairs")}), 1
    )
    line_task = TASKS.get("language_modeling").cls.load(
        TASKS.parse({"name": "language_modeling", "data": str(tmp_path / "lines")}), 1
    )
    assert line_task.vocabularies()["target"] == pair_task.vocabularies()["target"]
