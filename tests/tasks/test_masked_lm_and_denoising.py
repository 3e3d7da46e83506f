"""What is special to the tasks that corrupt their text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_text import toy_text_config, write_toy_documents

from seqtrain.batch import Batch
from seqtrain.data.vocabulary import BOS, EOS, PADDING
from seqtrain.plugins import import_built_ins
from seqtrain.tasks.base import TASKS, Task
from seqtrain.tasks.masked_lm import MASK
from seqtrain.tasks.text_task import TextTask

import_built_ins()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_documents(tmp_path_factory.mktemp("text"), num_train=12, num_valid=3)


def load(text: Path, name: str, seed: int = 3, **fields: Any) -> Task:
    section = toy_text_config(text, text, name, {}, task=fields)["task"]
    task: Task = TASKS.get(name).cls.load(TASKS.parse(section), seed)
    return task


def whole(task: Task, split: str, epoch: int) -> Batch:
    dataset = task.dataset(split)
    return dataset.batch(np.arange(len(dataset)), epoch)


@pytest.mark.parametrize("name", ["masked_lm", "denoising"])
def test_text_is_corrupted_anew_in_each_epoch_and_by_seed_alone(text: Path, name: str) -> None:
    def source(seed: int, epoch: int) -> torch.Tensor:
        return whole(load(text, name, seed), "train", epoch).inputs["source_tokens"]

    def same(one: torch.Tensor, other: torch.Tensor) -> bool:
        return one.shape == other.shape and torch.equal(one, other)

    assert same(source(3, 1), source(3, 1))
    assert not same(source(3, 1), source(3, 2))
    assert not same(source(3, 1), source(4, 1))


def test_a_masked_example_shows_all_but_its_targets(text: Path) -> None:
    task = load(text, "masked_lm", masking={"unchanged": 0.0, "random": 0.0, "rate": 0.4})
    assert isinstance(task, TextTask)
    batch = whole(task, "valid", 1)
    source = batch.inputs["source_tokens"]
    mask = task.vocabularies()["source"].index(MASK)
    assert mask == task.context.source_vocab_size - 1
    hidden = batch.targets != PADDING
    assert torch.equal(source == mask, hidden)
    assert bool((source[:, 0] == BOS).all())
    assert source.size(1) <= 24
    original = torch.where(hidden, batch.targets, source)[:, 1:]
    lines = [x for x in (text / "valid.txt").read_text().split("\n") if x]
    expected = [i for line in lines for i in (*task.side.encode(line).tolist(), EOS)]
    assert original[original != PADDING].tolist() == expected


@pytest.mark.parametrize("units", ["token", "word", "span"])
def test_every_unit_of_masking_hides_about_its_rate(text: Path, units: str) -> None:
    task = load(text, "masked_lm", masking={"units": units, "rate": 0.3}, tokenizer="word")
    batch = whole(task, "train", 1)
    shown = batch.num_tokens - batch.num_examples
    assert 0.1 < batch.num_targets / shown < 0.5


def test_a_denoising_target_is_the_original_text(text: Path) -> None:
    task = load(text, "denoising")
    assert isinstance(task, TextTask)
    batch = whole(task, "valid", 1)
    first = (text / "valid.txt").read_text().split("\n")[0]
    begin = batch.targets[0].tolist()
    assert task.side.decode(begin[: len(first)]) == first
    assert bool((batch.inputs["prev_output_tokens"][:, 0] == EOS).all())
    assert not torch.equal(batch.inputs["source_tokens"], batch.targets)


def test_sentinels_of_span_corruption_are_symbols_of_their_own(text: Path) -> None:
    plain = load(text, "denoising")
    task = load(text, "denoising", noise={"span_corruption": True, "num_sentinels": 4})
    symbols = task.vocabularies()["source"]
    assert len(symbols) == len(set(symbols)) == len(plain.vocabularies()["source"]) + 4
    batch = whole(task, "train", 1)
    sentinels = set(range(len(symbols) - 4, len(symbols)))
    assert sentinels & set(batch.inputs["source_tokens"].flatten().tolist())
    assert sentinels & set(batch.targets.flatten().tolist())
