from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.epoch_iterator import EpochIterator, Group, Position
from seqtrain.data.epoch_plan import EpochPlan
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import CheckpointError, ConfigError, DataError


def pairs(num_examples: int, seed: int = 0) -> PairDataset:
    generator = np.random.default_rng(seed)
    stores = [
        TokenStore.from_sequences(
            [generator.integers(4, 50, generator.integers(0, 12)) for _ in range(num_examples)], 50
        )
        for _ in range(2)
    ]
    return PairDataset(*stores)


def update(groups: list[Group], world_size: int, update_freq: int) -> list[list[int]]:
    """The example ids of each micro-batch of one update, over all ranks in order."""
    assert [group.first_index for group in groups] == [
        rank * update_freq for rank in range(world_size)
    ]
    assert len({(group.end, group.is_last) for group in groups}) == 1
    assert all(len(group.batches) == update_freq for group in groups)
    return [batch.ids.tolist() for group in groups for batch in group.batches]


def run(
    make: Callable[[int, int], EpochIterator],
    world_size: int,
    update_freq: int,
    state: dict[str, Any] | None = None,
    most: int = 10**9,
) -> tuple[list[list[int]], dict[str, Any]]:
    """Micro-batches of the epoch in the order of the stream, and the state after `most` updates."""
    iterators = [make(rank, world_size) for rank in range(world_size)]
    for iterator in iterators:
        if state is not None:
            iterator.load_state_dict(state)
    epoch = iterators[0].epoch
    stream: list[list[int]] = []
    generators = [iterator.groups(update_freq) for iterator in iterators]
    for _ in range(most):
        groups = [next(generator, None) for generator in generators]
        if groups[0] is None:
            assert groups == [None] * world_size
            break
        given_groups = [group for group in groups if group is not None]
        stream += update(given_groups, world_size, update_freq)
        for iterator, group in zip(iterators, given_groups, strict=True):
            iterator.advance(group)
        assert given_groups[0].is_last == (iterators[0].epoch == epoch + 1)
    states = [iterator.state_dict() for iterator in iterators]
    assert all(each == states[0] for each in states)
    return [ids for ids in stream if ids], states[0]


@dataclass(frozen=True)
class Case:
    num_examples: int
    max_tokens: int
    window_size: int
    shuffle: bool

    def maker(self) -> Callable[[int, int], EpochIterator]:
        config = DatasetConfig(max_tokens=self.max_tokens, window_size=self.window_size)
        dataset = pairs(self.num_examples)
        return lambda rank, world: EpochIterator(dataset, config, 7, rank, world, self.shuffle)


CASE = st.builds(
    Case,
    num_examples=st.integers(1, 60),
    max_tokens=st.integers(12, 80),
    window_size=st.integers(1, 70),
    shuffle=st.booleans(),
)
WORLD = st.tuples(st.integers(1, 8), st.integers(1, 3))  # world_size, update_freq


@settings(max_examples=60, deadline=None)
@given(case=CASE, world=WORLD)
def test_every_example_comes_once_an_epoch_in_an_order_that_no_world_changes(
    case: Case, world: tuple[int, int]
) -> None:
    make = case.maker()
    stream, state = run(make, *world)
    assert sorted(index for ids in stream for index in ids) == list(range(case.num_examples))
    assert stream == run(make, 1, 1)[0]
    assert (state["epoch"], state["window"], state["consumed"]) == (2, 0, 0)
    again, _ = run(make, *world, state)
    assert sorted(index for ids in again for index in ids) == list(range(case.num_examples))


@settings(max_examples=60, deadline=None)
@given(case=CASE, world=WORLD, most=st.integers(0, 8), other=WORLD)
def test_stopping_anywhere_and_going_on_in_another_world_loses_and_repeats_nothing(
    case: Case, world: tuple[int, int], most: int, other: tuple[int, int]
) -> None:
    make = case.maker()
    straight, _ = run(make, 1, 1)
    first, state = run(make, *world, most=most)
    if state["epoch"] == 2:
        assert first == straight
        return
    second, end = run(make, *other, state)
    assert first + second == straight
    assert end["epoch"] == 2


BUDGET = st.tuples(st.integers(12, 80), st.integers(0, 9))  # max_tokens, batch_size


@settings(max_examples=60, deadline=None)
@given(
    num_examples=st.integers(1, 80),
    window_size=st.integers(1, 70),
    budgets=st.lists(BUDGET, min_size=3, max_size=3),
    worlds=st.lists(WORLD, min_size=3, max_size=3),
    most=st.lists(st.integers(0, 5), min_size=2, max_size=2),
)
def test_an_accepted_change_of_budget_holds_from_the_next_window_on_and_loses_nothing(
    num_examples: int,
    window_size: int,
    budgets: list[tuple[int, int]],
    worlds: list[tuple[int, int]],
    most: list[int],
) -> None:
    dataset, state, seen = pairs(num_examples), None, []
    lengths = dataset.lengths.max(axis=1)
    for (max_tokens, batch_size), world, limit in zip(budgets, worlds, [*most, 10**9], strict=True):
        config = DatasetConfig(
            max_tokens=max_tokens,
            batch_size=batch_size,
            window_size=window_size,
            accept_changed_batching=True,
        )

        def make(rank: int, size: int, config: DatasetConfig = config) -> EpochIterator:
            return EpochIterator(dataset, config, 7, rank, size)

        begun = None if state is None else (state["epoch"], state["window"])
        batches, state = run(make, *world, state, limit)
        seen += batches
        if state["epoch"] == 2:
            break
        if begun != (state["epoch"], state["window"]) or state["consumed"] == 0:
            assert state["batching"]["max_tokens"] in {budget[0] for budget in budgets}
    assert sorted(index for ids in seen for index in ids) == list(range(num_examples))
    most_tokens = max(budget[0] for budget in budgets)
    assert all(len(ids) * lengths[ids].max() <= most_tokens for ids in seen)


def test_after_an_accepted_change_the_next_window_keeps_the_new_budget() -> None:
    dataset = pairs(200)
    old, new = (
        DatasetConfig(max_tokens=each, window_size=64, accept_changed_batching=True)
        for each in (80, 20)
    )
    _, state = run(lambda rank, world: EpochIterator(dataset, old, 7, rank, world), 1, 1, most=2)
    assert (state["window"], state["consumed"]) == (0, 2)
    rest, _ = run(lambda rank, world: EpochIterator(dataset, new, 7, rank, world), 1, 1, state)
    whole, _ = run(lambda rank, world: EpochIterator(dataset, old, 7, rank, world), 1, 1)
    in_first = len(EpochPlan(dataset, old, 7, shuffle=True).window(1, 0)) - 2
    assert rest[:in_first] == whole[2 : 2 + in_first]
    lengths = dataset.lengths.max(axis=1)
    assert all(len(ids) * lengths[ids].max() <= 20 for ids in rest[in_first:])
    iterator = EpochIterator(dataset, new, 7)
    iterator.load_state_dict(state)
    assert iterator.state_dict() == state
    with pytest.raises(ConfigError, match=r"window_size=64, or start"):
        EpochIterator(dataset, replace(new, window_size=32), 7).load_state_dict(state)
    with pytest.raises(ConfigError, match=r"max_tokens=80, or dataset.accept_changed_batching"):
        EpochIterator(dataset, replace(new, accept_changed_batching=False), 7).load_state_dict(
            state
        )
    for wrong in ({"max_tokens": "80"}, {"max_tokens": -1}, {"max_tokens": 0}):
        damaged = state | {"batching": state["batching"] | wrong}
        with pytest.raises(CheckpointError, match="saved"):
            EpochIterator(dataset, new, 7).load_state_dict(damaged)


def test_epochs_have_different_orders_and_seeds_too() -> None:
    dataset, config = pairs(200), DatasetConfig(max_tokens=60)
    orders = []
    for seed in (1, 2):
        iterator = EpochIterator(dataset, config, seed)
        for _ in range(2):
            groups = []
            for group in iterator.groups(1):
                groups.append(group.batches[0].ids.tolist())
                iterator.advance(group)
            orders.append(groups)
    assert all(one != other for one in orders for other in orders if one is not other)


def test_the_order_is_not_sorted_by_length_in_training() -> None:
    iterator = EpochIterator(pairs(500), DatasetConfig(max_tokens=60), 1)
    widths = [group.batches[0].targets.shape[1] for group in iterator.groups(1)]
    assert widths != sorted(widths)


def test_an_update_that_was_not_finished_is_given_again() -> None:
    iterator = EpochIterator(pairs(100), DatasetConfig(max_tokens=40), 1)
    first = next(iterator.groups(2))
    again = next(iterator.groups(2))
    assert [batch.ids.tolist() for batch in first.batches] == [
        batch.ids.tolist() for batch in again.batches
    ]


def test_the_last_update_is_filled_with_empty_batches() -> None:
    dataset = PairDataset(*[TokenStore.from_sequences([[4]] * 3, 9)] * 2)
    config = DatasetConfig(batch_size=1)
    groups = [next(EpochIterator(dataset, config, 1, rank, 4).groups(2)) for rank in range(4)]
    sizes = [[batch.num_examples for batch in group.batches] for group in groups]
    assert sizes == [[1, 1], [1, 0], [0, 0], [0, 0]]
    assert all(group.is_last and group.end == Position(2) for group in groups)


class Recorded(Dataset):
    """Writes down what is loaded."""

    def __init__(self, inner: Dataset) -> None:
        self.inner = inner
        self.loaded: list[list[int]] = []

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.inner.lengths

    @property
    @override
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        self.loaded.append(indices.tolist())
        return self.inner.batch(indices, epoch)

    @override
    def empty_batch(self) -> Batch:
        return self.inner.empty_batch()


def test_going_on_loads_nothing_that_was_consumed_nor_other_ranks_batches() -> None:
    config = DatasetConfig(max_tokens=30, window_size=40)
    straight = run(lambda rank, world: EpochIterator(pairs(100), config, 1, rank, world), 1, 1)[0]
    _, state = run(
        lambda rank, world: EpochIterator(pairs(100), config, 1, rank, world), 1, 1, most=11
    )
    recorded = Recorded(pairs(100))
    iterator = EpochIterator(recorded, config, 1, rank=1, world_size=2)
    iterator.load_state_dict(state)
    list(iterator.groups(1))
    assert recorded.loaded == straight[11:][1::2]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_neither_order_nor_content(num_workers: int) -> None:
    def batches(workers: int) -> list[Batch]:
        config = DatasetConfig(max_tokens=50, num_workers=workers, window_size=60)
        iterator = EpochIterator(pairs(150), config, 3, rank=1, world_size=2)
        found = []
        for group in iterator.groups(2):
            found += group.batches
            iterator.advance(group)
        assert iterator.position == Position(2)
        return found

    for one, other in zip(batches(0), batches(num_workers), strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.targets, other.targets)
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
        assert (one.num_targets, one.num_tokens) == (other.num_targets, other.num_tokens)


def test_evaluation_keeps_what_training_leaves_out() -> None:
    dataset = PairDataset(*[TokenStore.from_sequences([[4] * 30, [4], [4] * 5], 9)] * 2)
    config = DatasetConfig(max_tokens=20, max_source_positions=8, long_examples="refuse")
    iterator = EpochIterator(dataset, config, 1, shuffle=False)
    ids = [group.batches[0].ids.tolist() for group in iterator.groups(1)]
    assert ids == [[1, 2], [0]]
    assert iterator.summary().filtered == ()


def test_the_summary_says_what_is_used_left_out_and_padded() -> None:
    sequences = [[4] * 30, [4], [4], [4] * 5]
    dataset = PairDataset(*[TokenStore.from_sequences(sequences, 9)] * 2)
    iterator = EpochIterator(dataset, DatasetConfig(max_source_positions=8), 1)
    summary = iterator.summary()
    assert (summary.num_examples, summary.num_used, summary.num_batches) == (4, 3, 1)
    assert summary.padding == pytest.approx(1 - 20 / 36)
    assert summary.lines() == [
        "3 of 4 examples in 1 batches, 44.4% padding",
        "left out: 1 with a source longer than dataset.max_source_positions=8: 0",
    ]


@given(num_examples=st.integers(1, 80), window_size=st.integers(1, 100))
@settings(deadline=None, max_examples=30)
def test_the_number_of_batches_is_exact_for_one_window(num_examples: int, window_size: int) -> None:
    config = DatasetConfig(max_tokens=40, window_size=window_size)
    iterator = EpochIterator(pairs(num_examples), config, 1, rank=0, world_size=2)
    stream, _ = run(lambda rank, world: EpochIterator(pairs(num_examples), config, 1), 1, 1)
    if window_size >= num_examples:
        assert iterator.num_batches() == len(stream)
    else:
        assert iterator.num_batches() > 0


def test_no_examples_and_none_left_are_errors() -> None:
    empty = PairDataset(*[TokenStore.from_sequences([], 9)] * 2)
    with pytest.raises(DataError, match="holds no examples"):
        next(EpochIterator(empty, DatasetConfig(), 1).groups(1))
    dataset = PairDataset(*[TokenStore.from_sequences([[4] * 9] * 3, 9)] * 2)
    with pytest.raises(DataError, match=r"0 of 3 examples are left.*max_source_positions=5"):
        next(EpochIterator(dataset, DatasetConfig(max_source_positions=5), 1).groups(1))


def test_a_state_is_valid_before_the_first_update() -> None:
    iterator = EpochIterator(pairs(10), DatasetConfig(), 1)
    state = iterator.state_dict()
    iterator.load_state_dict(state)
    assert iterator.position == Position(1, 0, 0)


def test_other_data_is_refused_with_both_fingerprints() -> None:
    one, other = pairs(10), pairs(10, seed=1)
    state = EpochIterator(one, DatasetConfig(), 1).state_dict()
    with pytest.raises(DataError, match=f"{other.fingerprint}.*{one.fingerprint}"):
        EpochIterator(other, DatasetConfig(), 1).load_state_dict(state)


@pytest.mark.parametrize(
    ("config", "seed", "what"),
    [
        (DatasetConfig(), 2, "seed is 2 and was 1"),
        (DatasetConfig(max_tokens=99), 1, "dataset.max_tokens is 99 and was 4096"),
        (DatasetConfig(batch_size=3), 1, "dataset.batch_size is 3 and was 0"),
        (DatasetConfig(window_size=3), 1, "dataset.window_size is 3 and was 262144"),
    ],
)
def test_settings_that_change_the_order_are_refused_with_both_values(
    config: DatasetConfig, seed: int, what: str
) -> None:
    state = EpochIterator(pairs(10), DatasetConfig(), 1).state_dict()
    with pytest.raises(ConfigError, match=what):
        EpochIterator(pairs(10), config, seed).load_state_dict(state)


def test_settings_of_loading_may_change() -> None:
    state = EpochIterator(pairs(10), DatasetConfig(), 1).state_dict()
    config = DatasetConfig(num_workers=2, prefetch=7, timeout_seconds=1.0)
    EpochIterator(pairs(10), config, 1, rank=1, world_size=2).load_state_dict(state)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 0},
        {"epoch": "1"},
        {"epoch": True},
        {"window": 1},
        {"window": -1},
        {"consumed": 10**6},
        {"consumed": 1.5},
        {"consumed": None},
    ],
)
def test_positions_outside_of_the_data_are_refused(change: dict[str, Any]) -> None:
    state = EpochIterator(pairs(10), DatasetConfig(), 1).state_dict()
    with pytest.raises(CheckpointError, match="saved"):
        EpochIterator(pairs(10), DatasetConfig(), 1).load_state_dict(state | change)
    with pytest.raises(CheckpointError, match="no 'seed'"):
        EpochIterator(pairs(10), DatasetConfig(), 1).load_state_dict(
            {name: value for name, value in state.items() if name != "seed"}
        )


def test_time_that_is_spent_waiting_is_counted() -> None:
    iterator = EpochIterator(pairs(50), DatasetConfig(), 1)
    list(iterator.groups(1))
    assert iterator.wait_seconds > 0.0
