import numpy as np
import pytest

from seqtrain.data.labelled.augment import CHANGES, RandAugment
from seqtrain.data.labelled.store import Example
from seqtrain.errors import ConfigError

SERIES = np.random.default_rng(1).normal(size=(11, 3)).astype(np.float32)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("length", [1, 2, 11])
def test_a_change_keeps_the_shape_and_gives_finite_numbers(name: str, length: int) -> None:
    for seed in range(20):
        found = CHANGES[name](SERIES[:length].copy(), 1.0, np.random.default_rng(seed))
        assert found.shape == (length, 3)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", CHANGES)
def test_without_strength_nothing_changes(name: str) -> None:
    found = CHANGES[name](SERIES.copy(), 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(found, SERIES, atol=1e-6)


@pytest.mark.parametrize("name", CHANGES)
def test_with_strength_something_does(name: str) -> None:
    changed = [CHANGES[name](SERIES.copy(), 1.0, np.random.default_rng(seed)) for seed in range(20)]
    assert any(not np.allclose(series, SERIES) for series in changed)


def test_shift_repeats_the_ends_and_rotate_brings_them_in_again() -> None:
    line = np.arange(10, dtype=np.float32)[:, None]
    for seed in range(10):
        moved = CHANGES["shift"](line, 1.0, np.random.default_rng(seed))[:, 0]
        by = moved[5] - 5
        np.testing.assert_allclose(moved, np.clip(np.arange(10) + by, 0, 9))
        rotated = CHANGES["rotate"](line, 1.0, np.random.default_rng(seed))[:, 0]
        assert sorted(rotated) == line[:, 0].tolist()


def test_the_drawn_changes_are_made_in_turn_and_labels_stay() -> None:
    change = RandAugment(("slope", "offset"), 3, 0.4)
    found = change(Example(SERIES.copy(), np.array(2)), np.random.default_rng(8))
    generator, expected = np.random.default_rng(8), SERIES
    for index in generator.integers(2, size=3):
        expected = CHANGES[("slope", "offset")[index]](expected, 0.4, generator)
    np.testing.assert_array_equal(found.inputs, expected)
    assert int(found.labels) == 2


@pytest.mark.parametrize(
    ("names", "count", "strength", "message"),
    [
        (("jiter",), 1, 0.1, "task.augment has no 'jiter'. Known: jitter, mask_channels"),
        (("jitter",), -1, 0.1, "task.augment_count"),
        (("jitter",), 1, 1.5, "task.augment_strength"),
    ],
)
def test_a_wrong_setting_is_named(
    names: tuple[str, ...], count: int, strength: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RandAugment(names, count, strength)
