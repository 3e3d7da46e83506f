"""Every kind of dataset through the epoch iterator: exactly once, within the budget, resumed."""

import pickle
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
from epoch_streams import Seen, Stage, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.altered_store import EdgedStore
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.joined_dataset import JoinedDataset
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.mixed_dataset import mix_datasets
from seqtrain.data.noise.denoising import DenoisingConfig
from seqtrain.data.noise.denoising_dataset import DenoisingDataset
from seqtrain.data.noise.masked_dataset import MaskedDataset
from seqtrain.data.noise.masking import MaskingConfig
from seqtrain.data.noise.word_marks import WordMarks
from seqtrain.data.packed_dataset import PackedDataset
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.sharded_dataset import ShardedDataset
from seqtrain.data.subsampled_dataset import subsample
from seqtrain.data.token_blocks import TokenBlocks
from seqtrain.data.token_store import TokenStore
from seqtrain.data.vocabulary import SPECIALS

VOCAB = 40
MARKS = WordMarks.of([*SPECIALS, *(f"\u2581{i}" if i % 2 else str(i) for i in range(4, VOCAB))])
BUDGET = 44
SIZES = [7, 0, 13, 1, 9]  # of shards and corpora


def lines(count: int, seed: int = 0) -> TokenStore:
    generator = np.random.default_rng(seed)
    return TokenStore.from_sequences(
        [generator.integers(4, VOCAB, generator.integers(0, 12)) for _ in range(count)], VOCAB
    )


def blocks(mode: str, seed: int = 0) -> TokenBlocks:
    return TokenBlocks(lines(40, seed), 15, mode, document_starts=np.array([0, 3, 11, 12, 30]))


def masked(sequences: SequenceStore, units: str = "token") -> MaskedDataset:
    config = MaskingConfig(units=units)
    return MaskedDataset(sequences, config, mask_index=VOCAB, seed=2, word_marks=MARKS)


def denoising(**settings: object) -> DenoisingDataset:
    config = DenoisingConfig(**settings)  # type: ignore[arg-type] # a test's shorthand
    return DenoisingDataset(blocks("complete"), config, mask_index=VOCAB, seed=2)


def tagged_pairs() -> PairDataset:
    sources = [EdgedStore(lines(9, seed), VOCAB + 2, prepend=VOCAB + seed) for seed in (0, 1)]
    return PairDataset(JoinedStore(sources), lines(18, 5))


def open_pairs(number: int) -> Dataset:
    return PairDataset(lines(SIZES[number], number), lines(SIZES[number], number + 9))


def open_masked(number: int) -> Dataset:
    return masked(lines(SIZES[number], number), "span")


def sharded(open_shard: Callable[[int], Dataset], max_open: int) -> ShardedDataset:
    return ShardedDataset(SIZES, [str(size) for size in SIZES], open_shard, max_open)


KINDS: dict[str, Callable[[], Dataset]] = {
    "packed across documents": lambda: PackedDataset(blocks("none")),
    "packed whole lines": lambda: PackedDataset(blocks("complete"), context=5),
    "packed isolated": lambda: PackedDataset(blocks("complete_doc"), isolate_documents=True),
    "packed documents": lambda: PackedDataset(blocks("document")),
    "masked symbols": lambda: masked(blocks("complete")),
    "masked words": lambda: masked(blocks("eos"), "word"),
    "masked spans": lambda: masked(lines(30), "span"),
    "denoising": lambda: denoising(mask=0.1, delete=0.1, rotate=0.5),
    "span corruption": lambda: denoising(span_corruption=True),
    "tagged pairs": tagged_pairs,
    "joined": lambda: JoinedDataset([masked(lines(size, size)) for size in SIZES]),
    "joined packed": lambda: JoinedDataset(
        [PackedDataset(blocks("complete", seed), isolate_documents=True) for seed in (0, 1)]
    ),
    "mixed": lambda: mix_datasets([masked(lines(n, n)) for n in (20, 4)], [], 3.0, seed=1),
    "mixed packed": lambda: mix_datasets(
        [PackedDataset(blocks("none", seed)) for seed in (0, 1)], [3.0, 1.0], 1.0, seed=1
    ),
    "sample": lambda: subsample(masked(lines(30)), seed=4, count=17),
    "moving sample": lambda: subsample(masked(lines(30)), seed=4, fraction=0.4, per_epoch=True),
    "sharded pairs": partial(sharded, open_pairs, 3),
    "one shard open": partial(sharded, open_masked, 1),
    "all shards open": partial(sharded, open_masked, 99),
}
CONFIGS = st.builds(
    DatasetConfig,
    max_tokens=st.just(BUDGET),
    batch_size=st.integers(0, 6),
    batch_multiple=st.integers(1, 3),
    window_size=st.integers(1, 50),
)
STAGES = st.lists(
    st.builds(Stage, st.integers(1, 8), st.integers(1, 3), st.integers(0, 6)), max_size=3
)


@cache
def built(kind: str) -> bytes:
    return pickle.dumps(KINDS[kind]())


def dataset_of(kind: str) -> Dataset:
    """A dataset of its own, as another process would have it."""
    dataset: Dataset = pickle.loads(built(kind))
    return dataset


def rows_and_width(batch: Seen) -> tuple[int, int]:
    widths = [len(rows[0]) for name, rows in batch.tensors.items() if name != "document_ids"]
    return len(batch.ids), max(widths)


def check_stops(kind: str, config: DatasetConfig, stages: list[Stage]) -> None:
    """Asserts that stops change nothing, examples come once an epoch, and budgets are kept."""
    dataset = dataset_of(kind)
    straight = stream(lambda: dataset_of(kind), config, [Stage()])
    assert stream(lambda: dataset_of(kind), config, [*stages, Stage()]) == straight
    for batch in straight:
        rows, width = rows_and_width(batch)
        assert rows * width <= BUDGET
        assert not config.batch_size or rows <= config.batch_size
    for epoch in (1, 2):
        ids = sorted(index for batch in straight if batch.epoch == epoch for index in batch.ids)
        assert len(ids) == len(dataset)
        if "mixed" not in kind and "sample" not in kind:
            assert ids == list(range(len(dataset)))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_goes_on_in_mid_epoch_in_another_world(kind: str) -> None:
    config = DatasetConfig(max_tokens=BUDGET, window_size=16)
    check_stops(kind, config, [Stage(3, 2, 1), Stage(2, 1, 2)])


@settings(max_examples=10, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), config=CONFIGS, stages=STAGES)
def test_stopping_anywhere_and_going_on_in_another_world_gives_the_same_batches(
    kind: str, config: DatasetConfig, stages: list[Stage]
) -> None:
    check_stops(kind, config, stages)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(config=CONFIGS, stages=STAGES)
def test_each_kind_may_stop_anywhere_and_go_on_in_any_world(
    kind: str, config: DatasetConfig, stages: list[Stage]
) -> None:
    check_stops(kind, config, stages)


@pytest.mark.parametrize("kind", ["masked words", "sharded pairs"])
def test_workers_may_change_in_mid_epoch_too(kind: str) -> None:
    config = DatasetConfig(max_tokens=BUDGET, window_size=16)
    stages = [
        Stage(world_size=2, update_freq=2, updates=2, num_workers=1),
        Stage(world_size=1, update_freq=1, updates=2, num_workers=2),
        Stage(),
    ]
    assert stream(lambda: dataset_of(kind), config, stages, epochs=1) == stream(
        lambda: dataset_of(kind), config, [Stage()], epochs=1
    )


@pytest.mark.parametrize("kind", ["masked symbols", "denoising", "moving sample", "mixed"])
def test_an_example_is_another_one_in_the_next_epoch(kind: str) -> None:
    batches = stream(lambda: dataset_of(kind), DatasetConfig(batch_size=1), [Stage()])
    contents = [
        {batch.ids[0]: batch.tensors for batch in batches if batch.epoch == epoch}
        for epoch in (1, 2)
    ]
    assert contents[0] != contents[1]
