from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.data.permutation import permutation_slice


@given(size=st.integers(0, 3000), seed=st.integers(0, 2**40), epoch=st.integers(1, 100))
def test_every_number_below_the_size_occurs_once(size: int, seed: int, epoch: int) -> None:
    order = permutation_slice(size, 0, size, seed, epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


@given(size=st.integers(1, 10**12), data=st.data())
def test_a_slice_equals_its_part_of_a_longer_one(size: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, size - 1))
    length = min(size - begin, 50)
    whole = permutation_slice(size, begin, begin + length, "key")
    part = permutation_slice(size, begin + length // 2, begin + length, "key")
    np.testing.assert_array_equal(whole[length // 2 :], part)
    assert len(set(whole.tolist())) == length
    assert 0 <= whole.min() <= whole.max() < size


def test_small_orders_are_all_about_as_likely() -> None:
    found = Counter(tuple(permutation_slice(4, 0, 4, seed).tolist()) for seed in range(2400))
    assert len(found) == 24
    assert 60 < min(found.values()) <= max(found.values()) < 140


def test_keys_give_different_orders() -> None:
    orders = [permutation_slice(1000, 0, 1000, seed, epoch) for seed in (1, 2) for epoch in (1, 2)]
    agreeing = [int((one == other).sum()) for one in orders for other in orders if one is not other]
    assert max(agreeing) < 15


def test_the_order_is_the_same_on_every_machine() -> None:
    # Worked out once: a change here breaks the resume of every earlier run.
    assert permutation_slice(10, 0, 10, 1, "examples", 1).tolist() == [5, 4, 1, 8, 2, 0, 7, 9, 3, 6]
