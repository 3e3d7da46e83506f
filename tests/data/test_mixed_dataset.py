import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.mixed_dataset import MixedDataset, share_by_temperature, split_by
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import ConfigError, DataError
from seqtrain.plugins import import_built_ins
from seqtrain.tasks.translation import TranslationConfig, TranslationTask

import_built_ins()


def joined_pairs(sizes: list[int]) -> PairDataset:
    generator = np.random.default_rng(0)
    stores = [
        JoinedStore(
            [
                TokenStore.from_sequences(
                    [generator.integers(4, 50, generator.integers(0, 9)) for _ in range(size)], 50
                )
                for size in sizes
            ]
        )
        for _ in range(2)
    ]
    return PairDataset(*stores)


Stream = list[tuple[int, list[int], list[list[int]]]]  # epoch, ids and sources of each batch


def run(
    make: Callable[[int, int], EpochIterator],
    world: tuple[int, int],
    state: dict[str, Any] | None,
    most: int,
) -> tuple[Stream, dict[str, Any]]:
    """The batches of up to `most` updates in two epochs, and the state after them."""
    ranks = [make(rank, world[0]) for rank in range(world[0])]
    stream: Stream = []
    for iterator in ranks:
        if state is not None:
            iterator.load_state_dict(state)
    while most > 0 and ranks[0].epoch <= 2:
        updates = zip(*(each.groups(world[1]) for each in ranks), strict=True)
        for groups in islice(updates, most):
            most -= 1
            batches = [batch for group in groups for batch in group.batches if batch.num_examples]
            for batch in batches:
                tokens = batch.inputs["source_tokens"].tolist()
                stream.append((ranks[0].epoch, batch.ids.tolist(), tokens))
            for iterator, group in zip(ranks, groups, strict=True):
                iterator.advance(group)
    return stream, ranks[0].state_dict()


CORPORA = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 20)), min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(corpora=CORPORA, epochs=st.integers(1, 5))
def test_each_epoch_takes_the_chosen_number_and_every_example_before_one_again(
    corpora: list[tuple[int, int]], epochs: int
) -> None:
    sizes, taken = [size for size, _ in corpora], [count for _, count in corpora]
    mixed = MixedDataset(joined_pairs(sizes), sizes, taken, seed=3)
    assert len(mixed) == sum(taken)
    seen: Counter[int] = Counter(dict.fromkeys(range(sum(sizes)), 0))
    begins = np.cumsum([0, *sizes])
    for epoch in range(1, epochs + 1):
        examples = mixed.examples(np.arange(len(mixed)), epoch)
        owners = np.searchsorted(begins, examples, side="right") - 1
        assert np.bincount(owners, minlength=len(sizes)).tolist() == taken
        seen.update(examples.tolist())
    for begin, end in pairwise(begins.tolist()):
        uses = [seen[index] for index in range(begin, end)]
        assert max(uses) - min(uses) <= 1


@settings(max_examples=40, deadline=None)
@given(
    corpora=CORPORA.filter(lambda corpora: any(count for _, count in corpora)),
    worlds=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 3)), min_size=2, max_size=2),
    window_size=st.integers(1, 40),
    stop=st.integers(0, 12),
)
def test_a_mix_goes_on_in_mid_epoch_exactly_with_another_number_of_ranks(
    corpora: list[tuple[int, int]],
    worlds: list[tuple[int, int]],
    window_size: int,
    stop: int,
) -> None:
    sizes, taken = [size for size, _ in corpora], [count for _, count in corpora]
    config = DatasetConfig(max_tokens=30, window_size=window_size)

    def make(rank: int, world: int) -> EpochIterator:
        mixed = MixedDataset(joined_pairs(sizes), sizes, taken, seed=3)
        return EpochIterator(mixed, config, 7, rank, world)

    straight, _ = run(make, (1, 1), None, 10**9)
    first, state = run(make, worlds[0], None, stop)
    rest, _ = run(make, worlds[1], state, 10**9)
    assert first + rest == straight
    assert sum(len(ids) for _, ids, _ in straight) == 2 * sum(taken)
    assert all(len(tokens) * len(tokens[0]) <= 30 for _, _, tokens in straight)


def test_weights_and_temperatures_give_whole_numbers_that_add_up() -> None:
    assert split_by([1, 1, 1], 10) == [4, 3, 3]
    assert split_by([0.5, 0.25, 0.25], 100) == [50, 25, 25]
    assert split_by(share_by_temperature([900, 100], 1.0), 1000) == [900, 100]
    assert split_by(share_by_temperature([900, 100], 2.0), 1000) == [750, 250]
    assert split_by(share_by_temperature([900, 0], 5.0), 10) == [10, 0]


def test_a_mix_that_cannot_be_is_refused() -> None:
    dataset = joined_pairs([2, 0])
    with pytest.raises(ConfigError, match="1 examples of corpus 1 are asked for, which has 0"):
        MixedDataset(dataset, [2, 0], [1, 1], seed=1)
    with pytest.raises(ConfigError, match=r"have \[3\] examples.*there are 2"):
        MixedDataset(dataset, [3], [1], seed=1)
    for weights in ([-1.0, 1.0], [0.0, 0.0], [float("nan")]):
        with pytest.raises(ConfigError, match="weights of corpora"):
            split_by(weights, 10)
    with pytest.raises(ConfigError, match="temperature"):
        share_by_temperature([1], 0.0)


def test_another_mix_has_another_fingerprint_and_resuming_it_is_refused() -> None:
    dataset = joined_pairs([5, 5])
    one, other = (MixedDataset(dataset, [5, 5], taken, seed=1) for taken in ([5, 5], [4, 6]))
    state = EpochIterator(one, DatasetConfig(), 1).state_dict()
    with pytest.raises(DataError, match="The data has changed"):
        EpochIterator(other, DatasetConfig(), 1).load_state_dict(state)
    again = pickle.loads(pickle.dumps(one))
    assert again.fingerprint == one.fingerprint


def test_joined_stores_are_their_parts_one_after_the_other() -> None:
    parts = [[[4, 5], []], [], [[6]], [[7, 8, 9], [4]]]
    stores = [TokenStore.from_sequences(part, 10) for part in parts]
    joined = JoinedStore(stores)
    whole = TokenStore.from_sequences([ids for part in parts for ids in part], 10)
    for indices in (np.array([4, 0, 3, 0, 1, 2]), np.array([], dtype=np.int64)):
        for one, other in zip(joined.gather(indices), whole.gather(indices), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(joined.lengths_at(indices), whole.lengths_at(indices))
    assert (joined.num_tokens, joined.count(4)) == (whole.num_tokens, whole.count(4))
    with pytest.raises(IndexError):
        joined.gather(np.array([5]))
    with pytest.raises(DataError, match=r"vocabularies of \[9, 10\]"):
        JoinedStore([TokenStore.from_sequences([], size) for size in (9, 10)])


def test_the_translation_task_mixes_folders_of_one_vocabulary(tmp_path: Path) -> None:
    folders: list[str] = []
    for name, words in (("big", ["a", "b", "c", "d", "a b", "b c"]), ("small", ["d d"])):
        for language in ("en", "de"):
            (tmp_path / f"{name}.{language}").write_text("".join(f"{word}\n" for word in words))
        config = TranslationConfig(
            name="translation",
            source="en",
            target="de",
            train=str(tmp_path / name),
            tokenizer="word",
            vocabulary_from=folders[0] if folders else "",
        )
        TranslationTask.prepare(config, tmp_path / f"{name}-data", num_workers=1)
        folders.append(str(tmp_path / f"{name}-data"))
    config = TranslationConfig(
        name="translation", data=folders[0], mixed_data=folders[1:], mixed_weights=[4.0, 3.0]
    )
    dataset = TranslationTask.load(config, seed=1).dataset("train")
    assert len(dataset) == 7
    ids = [dataset.batch(np.array([index]), 1).ids.item() for index in range(7)]
    assert ids.count(6) == 3
    assert len({index for index in ids if index < 6}) == 4
    with pytest.raises(ConfigError, match="2 corpora needs as many weights"):
        TranslationTask.load(replace(config, mixed_weights=[1.0]), seed=1)
    config = replace(config, source="en", target="de", tokenizer="word")
    config = replace(config, train=str(tmp_path / "small"), vocabulary_from="")
    TranslationTask.prepare(config, tmp_path / "other-data", num_workers=1)
    config = replace(config, mixed_data=[str(tmp_path / "other-data")])
    with pytest.raises(DataError, match=r"Corpus 1 .*task\.vocabulary_from"):
        TranslationTask.load(config, seed=1)
    config = replace(config, source="de", target="en", vocabulary_from=folders[0])
    with pytest.raises(ConfigError, match=r"task\.vocabulary_from=.* is of en-de"):
        TranslationTask.prepare(config, tmp_path / "out", num_workers=1)
