import numpy as np
import pytest

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import ConfigError


def make(**fields: int) -> EpochIterator:
    generator = np.random.default_rng(0)
    rows = [generator.integers(4, 50, generator.integers(0, 12)) for _ in range(60)]
    store = TokenStore.from_sequences(rows, 50)
    return EpochIterator(PairDataset(store, store), DatasetConfig(max_tokens=40, **fields), seed=1)


def epoch(iterator: EpochIterator) -> list[list[int]]:
    batches = []
    for group in iterator.groups(1):
        batches.append(group.batches[0].ids.tolist())
        iterator.advance(group)
    return batches


def lengths(iterator: EpochIterator, batches: list[list[int]]) -> list[int]:
    return [int(iterator.dataset.lengths[batch].max()) for batch in batches]


def test_a_curriculum_goes_from_short_to_long_and_ends_after_its_epochs() -> None:
    iterator = make(curriculum_epochs=2)
    for _ in range(2):
        found = lengths(iterator, epoch(iterator))
        assert found == sorted(found)
    found = lengths(iterator, epoch(iterator))
    assert found != sorted(found)


def test_a_curriculum_takes_the_same_batches_in_another_order() -> None:
    ordered, shuffled = epoch(make(curriculum_epochs=1)), epoch(make())
    assert ordered != shuffled
    assert sorted(ordered) == sorted(shuffled)


def test_a_curriculum_is_resumed_where_it_stood() -> None:
    straight = epoch(make(curriculum_epochs=1))
    iterator = make(curriculum_epochs=1)
    groups = iterator.groups(1)
    for _ in range(3):
        iterator.advance(next(groups))
    resumed = make(curriculum_epochs=1)
    resumed.load_state_dict(iterator.state_dict())
    assert epoch(resumed) == straight[3:]


def test_a_position_of_before_there_were_curricula_is_one_without() -> None:
    state = make().state_dict()
    del state["batching"]["curriculum_epochs"]
    make().load_state_dict(state)
    with pytest.raises(ConfigError, match=r"dataset\.curriculum_epochs is 2 and was 0"):
        make(curriculum_epochs=2).load_state_dict(state)
