from dataclasses import replace

import numpy as np
import pytest
from epoch_streams import Stage, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.batching import DatasetConfig, shorten_lengths
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.mixed_dataset import MixedDataset
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import ConfigError, DataError

LENGTHS = [3, 30, 1, 9, 20] + [25] * 12


def pairs() -> PairDataset:
    sources = [np.arange(length) + 4 for length in LENGTHS]
    targets = [np.arange(length // 2) + 4 for length in LENGTHS]
    return PairDataset(*(TokenStore.from_sequences(side, 40) for side in (sources, targets)))


CUT = DatasetConfig(max_source_positions=10, max_target_positions=12, long_examples="cut")


def test_cut_examples_are_used_and_are_their_beginnings() -> None:
    iterator = EpochIterator(pairs(), CUT, 1)
    batches = [group.batches[0] for group in iterator.groups(1)]
    rows = {
        index: (batch.inputs["source_tokens"][row], batch.targets[row])
        for batch in batches
        for row, index in enumerate(batch.ids.tolist())
    }
    assert sorted(rows) == list(range(len(LENGTHS)))
    for index, length in enumerate(LENGTHS):
        source, target = ([int(t) for t in side if t != 1] for side in rows[index])
        assert source == [*range(4, 4 + min(length, 9)), 2]
        assert target == [*range(4, 4 + min(length // 2, 11)), 2]


@pytest.mark.parametrize(("policy", "action"), [("skip", "left out"), ("cut", "cut")])
def test_what_is_skipped_or_cut_is_counted_and_up_to_ten_are_listed(
    policy: str, action: str
) -> None:
    iterator = EpochIterator(pairs(), replace(CUT, long_examples=policy), 1)
    summary = iterator.summary()
    note = "note: more than half of the examples are left out; raise the limits"
    assert summary.lines()[1:] == [
        f"{action}: 14 with a source longer than dataset.max_source_positions=10: "
        "1, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...",
        *([note] if policy == "skip" else []),
    ]
    short = DatasetConfig(max_tokens=5, long_examples=policy)
    line, *rest = EpochIterator(pairs(), short, 1).summary().lines()[1:]
    assert " with an example longer than dataset.max_tokens=5: " in line
    assert rest == ([note] if policy == "skip" else [])
    assert summary.num_counted == len(LENGTHS)
    assert summary.num_used == (3 if policy == "skip" else len(LENGTHS))
    if policy == "cut":
        lengths = shorten_lengths(pairs().lengths, CUT)
        batch = next(iterator.groups(1)).batches[0]
        assert summary.padding == pytest.approx(1 - lengths.sum() / batch.num_positions)


def test_refusing_names_the_limit_the_count_and_the_ways_out() -> None:
    config = replace(CUT, long_examples="refuse")
    with pytest.raises(
        DataError, match=r"14 examples.*max_source_positions=10.*index 1\..*skip or cut"
    ):
        next(EpochIterator(pairs(), config, 1).groups(1))


def test_evaluation_keeps_long_examples_whole() -> None:
    iterator = EpochIterator(pairs(), CUT, 1, shuffle=False)
    widths = [group.batches[0].inputs["source_tokens"].shape[1] for group in iterator.groups(1)]
    assert max(widths) == 31


def test_the_budget_is_a_limit_that_is_cut_to() -> None:
    config = DatasetConfig(max_tokens=14, long_examples="cut")
    assert config.longest() == (14, 14)
    assert CUT.longest() == (10, 12)
    assert DatasetConfig(max_tokens=0, batch_size=2, max_source_positions=0).longest() == (0, 1024)
    for batch in stream(pairs, config, [Stage()], epochs=1):
        sources = batch.tensors["source_tokens"]
        assert len(sources) * max(len(sources[0]), len(batch.tensors["targets"][0])) <= 14


@settings(max_examples=10, deadline=None)
@given(
    limits=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    stages=st.lists(
        st.builds(Stage, st.integers(1, 4), st.integers(1, 2), st.integers(0, 3)), max_size=2
    ),
)
def test_a_run_on_cut_examples_goes_on_exactly(
    limits: tuple[int, int], stages: list[Stage]
) -> None:
    config = DatasetConfig(
        max_tokens=40,
        max_source_positions=limits[0],
        max_target_positions=limits[1],
        long_examples="cut",
        window_size=5,
    )
    straight = stream(pairs, config, [Stage()])
    assert stream(pairs, config, [*stages, Stage()]) == straight
    assert sorted(index for batch in straight for index in batch.ids) == sorted(
        [*range(len(LENGTHS))] * 2
    )


def test_other_limits_are_refused_on_resume_even_where_other_batching_is_accepted() -> None:
    config = replace(CUT, accept_changed_batching=True)
    state = EpochIterator(pairs(), config, 1).state_dict()
    for changed in (
        replace(config, max_source_positions=9),
        replace(config, max_tokens=50),
        replace(config, long_examples="skip"),
    ):
        with pytest.raises(ConfigError, match=r"Set dataset\.\w+=\w+, or start a new run"):
            EpochIterator(pairs(), changed, 1).load_state_dict(state)
    EpochIterator(pairs(), replace(config, batch_size=4), 1).load_state_dict(state)


def test_mixed_examples_are_cut_and_what_cannot_be_cut_is_refused_at_once() -> None:
    mixed = MixedDataset(pairs(), [len(LENGTHS)], [5], seed=1)
    assert mixed.shortened((10, 12)).lengths.max() <= 12

    class Uncut(PairDataset):
        shortened = PairDataset.__mro__[1].shortened  # type: ignore[attr-defined] # Dataset's own

    with pytest.raises(ConfigError, match=r"long_examples=cut is not possible with a Uncut"):
        EpochIterator(Uncut(pairs().source), CUT, 1)
