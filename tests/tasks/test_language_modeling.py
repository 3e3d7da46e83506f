"""What a language model is measured by, and with how much context."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_text import toy_text_config, write_toy_documents

from seqtrain.batch import Batch
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics
from seqtrain.plugins import import_built_ins
from seqtrain.tasks.base import TASKS
from seqtrain.tasks.language_modeling import LanguageModelingTask
from seqtrain.training.build import Run, build_run
from seqtrain.training.run_config import RunConfig

import_built_ins()

MODEL = {"name": "transformer_lm", "dim": 16, "num_heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_toy_documents(tmp_path_factory.mktemp("text"), num_train=4, num_valid=3)
    with (folder / "train.txt").open("a") as file:
        file.write("ä bead\n")
    with (folder / "valid.txt").open("a") as file:
        file.write("\näää bad\n")
    return folder


def build(text: Path, model: dict[str, Any] = MODEL, **task: Any) -> Run:
    config = RunConfig.parse(
        toy_text_config(text, text / "run", "language_modeling", model, task=task)
    )
    return build_run(config, Collectives(), torch.device("cpu"))


def symbols_of(text: Path, run: Run) -> list[list[int]]:
    """The ids of the validation text by document, eos after each line."""
    assert isinstance(run.task, LanguageModelingTask)
    documents = (text / "valid.txt").read_text().strip("\n").split("\n\n")
    encode = run.task.side.encode
    return [
        [index for line in document.split("\n") for index in (*encode(line).tolist(), EOS)]
        for document in documents
    ]


def nll(run: Run, before: list[int], symbol: int) -> float:
    """-log p of one symbol after others, computed alone."""
    model = run.trainer.model.eval()
    with torch.no_grad():
        logits = model(prev_output_tokens=torch.tensor([before])).logits[0, -1]
    return -float(torch.log_softmax(logits, dim=0)[symbol])


def evaluate(run: Run) -> dict[str, float]:
    return run.evaluator.evaluate("valid", generate=False).values


def test_values_are_those_of_a_plain_loop_over_symbols(text: Path) -> None:
    run = build(text)
    stream = [index for document in symbols_of(text, run) for index in document]
    total = 0.0
    for place, symbol in enumerate(stream):
        begin = place - place % 24
        before = [EOS, *stream][begin : place + 1]
        total += nll(run, before, symbol)
    found = evaluate(run)
    content = (text / "valid.txt").read_text().replace("\n\n", "\n")
    assert found["loss"] == pytest.approx(total / len(stream), rel=1e-5)
    assert found["ppl"] == pytest.approx(math.exp(total / len(stream)), rel=1e-5)
    bits = total / math.log(2.0)
    assert len(content.encode()) == len(content) + 3
    assert found["bits_per_byte"] == pytest.approx(bits / len(content.encode()), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(bits / len(content), rel=1e-5)


@pytest.mark.parametrize("window", [1, 16, 23])
def test_each_symbol_is_judged_with_the_context_window_before_it(text: Path, window: int) -> None:
    run = build(text, context_window=window)
    stream = [index for document in symbols_of(text, run) for index in document]
    length = 24 - window
    total = 0.0
    for place, symbol in enumerate(stream):
        begin = max(place - place % length - window, 0)
        assert place - begin >= min(window, place)
        total += nll(run, [EOS, *stream][begin : place + 1], symbol)
    assert evaluate(run)["loss"] == pytest.approx(total / len(stream), rel=1e-5)


@pytest.mark.parametrize("name", ["transformer_lm", "lstm_lm"])
def test_isolated_documents_are_judged_as_if_alone(text: Path, name: str) -> None:
    model = MODEL if name == "transformer_lm" else {"name": name, "dim": 16}
    run = build(text, model, isolate_documents=True, break_mode="complete", tokens_per_sample=400)
    documents = symbols_of(text, run)
    total = 0.0
    for document in documents:
        tokens = torch.tensor([[EOS, *document[:-1]]])
        with torch.no_grad():
            logits = run.trainer.model.eval()(prev_output_tokens=tokens).logits[0]
        total += float(torch.nn.functional.cross_entropy(
            logits, torch.tensor(document), reduction="sum"
        ))  # fmt: skip
    found = evaluate(run)["loss"]
    assert found == pytest.approx(total / sum(map(len, documents)), rel=1e-5)


def test_text_of_another_vocabulary_is_measured_in_the_same_unit(text: Path) -> None:
    sizes = {}
    for tokenizer in ("char", "byte", "word"):
        dataset = build(text, tokenizer=tokenizer).task.dataset("valid")
        batch = dataset.batch(np.arange(len(dataset)), 1)
        sizes[tokenizer] = batch.num_targets * float(batch.extras["bytes_per_target"])
    content = (text / "valid.txt").read_text().replace("\n\n", "\n").encode()
    assert sizes == pytest.approx(dict.fromkeys(sizes, len(content)))


def test_an_empty_batch_has_the_same_metrics(text: Path) -> None:
    run = build(text)
    dataset = run.task.dataset("valid")
    metrics = Metrics({"nll_loss": Mean(0.0, 0)})
    full = run.task.derive(metrics, dataset.batch(np.arange(2), 1))
    empty = run.task.derive(metrics, dataset.empty_batch())
    assert list(full) == list(empty) == ["bits_per_byte", "bits_per_character"]
    assert math.isnan(empty.compute()["bits_per_byte"])


def test_without_known_sizes_or_losses_nothing_is_derived(text: Path) -> None:
    task = build(text).task
    batch: Batch = task.dataset("train").batch(np.arange(2), 1)
    assert not len(task.derive(Metrics({"nll_loss": Mean(1.0, 2)}), batch))
    measured = task.dataset("valid").batch(np.arange(2), 1)
    assert not len(task.derive(Metrics({"mse": Mean(1.0, 2)}), measured))
    assert measured.to(torch.device("cpu")).extras.keys() == measured.extras.keys()
    assert replace(measured, extras={}).extras == {}


def test_every_symbol_of_training_is_a_target_once(text: Path) -> None:
    run = build(text, context_window=16)
    dataset = run.task.dataset("train")
    batch = dataset.batch(np.arange(len(dataset)), 1)
    assert isinstance(run.task, LanguageModelingTask)
    lines = [x for x in (text / "train.txt").read_text().split("\n") if x]
    expected = [i for line in lines for i in (*run.task.side.encode(line).tolist(), EOS)]
    targets = batch.targets.flatten()
    assert targets[targets != PADDING].tolist() == expected


def test_a_window_as_long_as_the_example_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.context_window must be .* \(24\), got 24"):
        TASKS.parse({"name": "language_modeling", "tokens_per_sample": 24, "context_window": 24})
