import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.config_schema import parse_section
from seqtrain.data.batching import DatasetConfig, padding_share, plan_window, usable
from seqtrain.errors import ConfigError, DataError

LENGTHS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=80)
CONFIG = st.builds(
    DatasetConfig,
    max_tokens=st.integers(1, 200),
    batch_size=st.integers(0, 9),
    batch_multiple=st.integers(1, 8),
)


def as_array(lengths: list[tuple[int, int]]) -> np.ndarray:
    return np.array(lengths, dtype=np.int32).reshape(-1, 2)


def greedy(lengths: list[int], config: DatasetConfig) -> list[int]:
    """Rows of each batch over ascending lengths, one example at a time."""
    rows, batch = [], 0
    for length in lengths:
        too_many = config.batch_size and batch + 1 > config.batch_size
        if batch and ((batch + 1) * length > config.max_tokens or too_many):
            rows.append(batch)
            batch = 0
        batch += 1
    return [*rows, batch] if batch else rows


@given(lengths=LENGTHS, config=CONFIG, seed=st.integers(0, 99))
def test_every_example_is_in_one_batch_and_budgets_are_kept(
    lengths: list[tuple[int, int]], config: DatasetConfig, seed: int
) -> None:
    array = as_array(lengths)
    order = np.random.default_rng(seed).permutation(len(array)) + 100
    batches = plan_window(array[order - 100], order, config)
    assert sorted(index for batch in batches for index in batch.tolist()) == sorted(order.tolist())
    for batch in batches:
        rows, longest = len(batch), int(array[batch - 100].max())
        assert rows == 1 or rows * longest <= config.max_tokens
        assert not config.batch_size or rows <= config.batch_size
        assert rows > 0


@given(
    lengths=LENGTHS,
    config=st.builds(DatasetConfig, max_tokens=st.integers(1, 200), batch_size=st.integers(0, 9)),
)
def test_batches_are_those_of_the_plain_greedy_loop(
    lengths: list[tuple[int, int]], config: DatasetConfig
) -> None:
    array = as_array(lengths)
    batches = plan_window(array, np.arange(len(array)), config)
    assert [len(batch) for batch in batches] == greedy(
        np.sort(array.max(axis=1)).tolist() if len(array) else [], config
    )


@given(lengths=LENGTHS, multiple=st.integers(2, 8))
def test_large_batches_are_multiples_and_nothing_is_dropped(
    lengths: list[tuple[int, int]], multiple: int
) -> None:
    config = DatasetConfig(max_tokens=100, batch_multiple=multiple)
    array = as_array(lengths)
    batches = plan_window(array, np.arange(len(array)), config)
    assert sum(len(batch) for batch in batches) == len(array)
    assert all(len(batch) < multiple or len(batch) % multiple == 0 for batch in batches)


def test_an_example_over_the_budget_is_a_batch_of_its_own() -> None:
    config = DatasetConfig(max_tokens=10)
    batches = plan_window(as_array([(3, 3), (50, 2), (60, 2), (3, 3)]), np.arange(4), config)
    assert [batch.tolist() for batch in batches] == [[0, 3], [1], [2]]


@pytest.mark.parametrize(
    ("lengths", "used", "reason"),
    [
        ((6, 1), False, "source longer than dataset.max_source_positions=5"),
        ((1, 8), False, "target longer than dataset.max_target_positions=7"),
        ((5, 7), True, ""),
    ],
)
def test_training_leaves_out_what_passes_a_limit(
    lengths: tuple[int, int], used: bool, reason: str
) -> None:
    config = DatasetConfig(max_source_positions=5, max_target_positions=7)
    mask, filtered = usable(as_array([lengths, (2, 2)]), np.array([40, 41]), config)
    assert mask.tolist() == [used, True]
    assert [(entry.reason, entry.count, entry.first_ids) for entry in filtered] == (
        [] if used else [(reason, 1, [40])]
    )


def test_the_budget_is_a_limit_too_and_ten_ids_are_listed() -> None:
    config = DatasetConfig(max_tokens=10)
    mask, filtered = usable(as_array([(11, 1)] * 12 + [(1, 10)]), np.arange(13)[::-1], config)
    assert mask.tolist() == [False] * 12 + [True]
    assert filtered[0].reason == "example longer than dataset.max_tokens=10"
    assert (filtered[0].count, filtered[0].first_ids) == (12, list(range(1, 11)))


def test_long_examples_can_be_refused() -> None:
    config = DatasetConfig(max_source_positions=5, long_examples="refuse")
    with pytest.raises(
        DataError, match=r"max_source_positions=5.*index 7.*long_examples=skip or cut"
    ):
        usable(as_array([(6, 1)]), np.array([7]), config)
    budget = DatasetConfig(max_tokens=3, long_examples="refuse")
    with pytest.raises(DataError, match="^2 examples are too long .example longer than dataset"):
        usable(as_array([(6, 1), (4, 1)]), np.array([7, 8]), budget)


def test_zero_means_no_limit() -> None:
    config = DatasetConfig(
        max_tokens=0, batch_size=4, max_source_positions=0, max_target_positions=0
    )
    lengths = as_array([(10**6, 10**6)] * 6)
    assert usable(lengths, np.arange(6), config)[0].all()
    assert [len(batch) for batch in plan_window(lengths, np.arange(6), config)] == [4, 2]


@pytest.mark.parametrize(
    "section",
    [
        {"max_tokens": -1},
        {"max_tokens": 0},
        {"batch_multiple": 0},
        {"window_size": 0},
        {"num_workers": -1},
        {"prefetch": 0},
        {"timeout_seconds": -1.0},
        {"timeout_seconds": float("nan")},
        {"long_examples": "truncate"},
    ],
)
def test_settings_that_cannot_work_name_their_key(section: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"dataset.{next(iter(section))}"):
        parse_section(DatasetConfig(), section, "dataset")


@given(lengths=LENGTHS.filter(bool))
def test_padding_is_the_share_of_positions_without_data(lengths: list[tuple[int, int]]) -> None:
    array = as_array(lengths)
    half = max(len(array) // 2, 1)
    parts = [part for part in (array[:half], array[half:]) if len(part)]
    positions = sum(len(part) * int(part.max(axis=0).sum()) for part in parts)
    share = padding_share(array, np.array([len(part) for part in parts]))
    assert share == pytest.approx(1 - array.sum() / positions)


def test_a_million_examples_are_planned_in_a_second() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 80, (1_000_000, 2)).astype(np.int32)
    order = generator.permutation(1_000_000)
    began = time.process_time()
    plan_window(lengths, order, DatasetConfig())
    assert time.process_time() - began < 1.0
