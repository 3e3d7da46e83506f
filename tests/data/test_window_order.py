import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.window_order import BlockOrder, ShardOrder, WindowOrder


def every(order: WindowOrder, epoch: int) -> list[list[int]]:
    return [order.examples(epoch, index).tolist() for index in range(order.num_windows)]


@settings(deadline=None, max_examples=40)
@given(num_examples=st.integers(0, 300), window_size=st.integers(1, 200), shuffle=st.booleans())
def test_windows_hold_every_example_once_and_are_no_larger_than_asked_for(
    num_examples: int, window_size: int, shuffle: bool
) -> None:
    windows = every(BlockOrder(num_examples, window_size, 3, shuffle), epoch=2)
    together = [index for window in windows for index in window]
    assert sorted(together) == list(range(num_examples))
    assert all(len(window) <= window_size for window in windows)
    assert shuffle or together == sorted(together)


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=7),
    at_once=st.integers(1, 5),
    window_size=st.integers(1, 100),
    shuffle=st.booleans(),
)
def test_windows_of_shards_hold_every_example_once_from_a_few_shards_each(
    sizes: list[int], at_once: int, window_size: int, shuffle: bool
) -> None:
    order = ShardOrder(sizes, at_once, window_size, 3, shuffle)
    begins = np.cumsum(sizes) - sizes
    ends = np.cumsum(sizes)
    for epoch in (1, 2):
        windows = every(order, epoch)
        together = [index for window in windows for index in window]
        assert sorted(together) == list(range(sum(sizes)))
        assert shuffle or together == sorted(together)
        for window in windows:
            assert len(window) <= window_size
            owners = {int(np.searchsorted(ends, index, side="right")) for index in window}
            assert len(owners) <= at_once
            assert all(begins[owner] < ends[owner] for owner in owners)


def test_a_shard_is_used_up_before_the_next_group_begins() -> None:
    order = ShardOrder([40] * 8, 2, 16, 5, shuffle=True)
    groups = []
    for index in range(0, order.num_windows, order.num_windows // 4):
        windows = range(index, index + order.num_windows // 4)
        examples = np.concatenate([order.examples(1, window) for window in windows])
        groups.append(sorted(set((examples // 40).tolist())))
    assert all(len(group) == 2 for group in groups)
    assert sorted(shard for group in groups for shard in group) == list(range(8))


def test_blocks_of_open_shards_are_mixed_and_epochs_differ() -> None:
    order = ShardOrder([600, 600], 2, 200, 5, shuffle=True)
    first, second = every(order, 1), every(order, 2)
    assert first != second
    assert all({index // 600 for index in window} == {0, 1} for window in first)
