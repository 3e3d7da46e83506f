import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.keyed_random import ExampleRandom, rank_within


@settings(deadline=None, max_examples=50)
@given(
    indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=9, unique=True),
    data=st.data(),
)
def test_an_example_has_its_numbers_in_any_batch(indices: list[int], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 7), min_size=len(indices), max_size=len(indices)))
    together = ExampleRandom(5, 2, np.array(indices)).uniform("x", np.array(counts))
    alone = [
        ExampleRandom(5, 2, np.array([index])).uniform("x", np.array([count]))
        for index, count in zip(indices, counts, strict=True)
    ]
    assert together.tolist() == np.concatenate(alone).tolist()


def test_seed_epoch_example_and_purpose_each_change_the_numbers() -> None:
    kinds = [(1, 1, 7, "x"), (2, 1, 7, "x"), (1, 2, 7, "x"), (1, 1, 8, "x"), (1, 1, 7, "y")]
    found = [
        ExampleRandom(seed, epoch, np.array([index])).uniform(purpose, np.array([4])).tolist()
        for seed, epoch, index, purpose in kinds
    ]
    assert len({number for numbers in found for number in numbers}) == 20


def test_more_numbers_begin_with_the_same_ones() -> None:
    random = ExampleRandom(1, 1, np.array([3]))
    more = random.uniform("x", np.array([9]))
    assert random.uniform("x", np.array([4])).tolist() == more[:4].tolist()
    assert random.uniform_each("x").tolist() == more[:1].tolist()


def test_numbers_are_even_and_neighbours_are_not_alike() -> None:
    numbers = ExampleRandom(1, 1, np.arange(2000)).uniform("x", np.full(2000, 50))
    assert 0.0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1.0
    shares = np.histogram(numbers, bins=20, range=(0, 1))[0] / len(numbers)
    np.testing.assert_allclose(shares, 0.05, atol=0.005)
    table = numbers.reshape(2000, 50)
    for one, other in ((table[:-1], table[1:]), (table[:, :-1], table[:, 1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01


def test_ranks_count_within_their_owner() -> None:
    owners = np.array([0, 0, 0, 2, 2])
    assert rank_within(owners, np.array([0.3, 0.1, 0.2, 0.5, 0.4])).tolist() == [2, 0, 1, 1, 0]
    assert rank_within(np.zeros(0, int), np.zeros(0)).tolist() == []
