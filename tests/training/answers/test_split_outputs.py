"""Outputs of a split come a part at a time: what was not asked for is not worked on."""

from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest
from toy_run import toy_config, write_toy_text
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset_part import DatasetPart
from seqtrain.pipeline import Pipeline, load, train
from seqtrain.training.answers.split_outputs import Shard, examples_at_once, parts_of


class Watched(DatasetPart):
    """Remembers which examples were read."""

    read: list[int]

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        self.read.extend(indices.tolist())
        return super().batch(indices, epoch)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("split")
    text = write_toy_text(folder / "text")
    train(toy_config(text, folder / "run", optimization={"max_update": 1}))
    return replace(load(folder / "run", "cpu"), at_once=4)


def test_only_the_parts_that_are_asked_for_are_worked_on(pipeline: Pipeline) -> None:
    task = pipeline.task_with_data()
    whole = task.dataset("test")
    watched = Watched(whole, range(len(whole)))
    watched.read = []
    task._datasets["test"] = watched
    found = pipeline.hypotheses_of_split(task, "test", pipeline.config.generation)
    assert [index for index, _ in islice(found, 5)] == list(range(5))
    assert sorted(watched.read) == list(range(8))


def test_parts_and_shards_have_the_outputs_of_the_whole(pipeline: Pipeline) -> None:
    task, generation = pipeline.task_with_data(), pipeline.config.generation
    together = dict(replace(pipeline, at_once=100).hypotheses_of_split(task, "test", generation))
    shards = [
        item
        for index in range(2)
        for item in pipeline.hypotheses_of_split(task, "test", generation, Shard(index, 2))
    ]
    assert [index for index, _ in shards] == list(range(len(together)))
    for index, nbest in shards:
        assert [h.tokens for h in nbest] == [h.tokens for h in together[index]]


def test_a_part_fills_some_batches(pipeline: Pipeline) -> None:
    dataset = pipeline.config.dataset
    assert examples_at_once(replace(dataset, max_tokens=64_000)) == 4000
    assert examples_at_once(replace(dataset, max_tokens=0, batch_size=900)) == 900
    assert [len(part) for part in parts_of(range(3, 10), 3)] == [3, 3, 1]
