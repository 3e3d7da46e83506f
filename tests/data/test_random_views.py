import numpy as np
import pytest

from seqtrain.data.labelled.dataset import LabelledDataset
from seqtrain.data.labelled.random_views import PieceStore, RandomView
from seqtrain.data.labelled.store import Example, LabelledStore
from seqtrain.data.labelled.values import ValueStore
from seqtrain.data.token_store import TokenStore


def image(height: int, width: int) -> Example:
    """An image whose pixels tell their place, which is their label as well."""
    places = np.arange(height * width).reshape(height, width)
    return Example(places[..., None].astype(np.float32), places.astype(np.int64))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_pieces_and_their_labels_stay_together() -> None:
    view = RandomView(crop=3, flips=(0, 1))
    seen = set()
    for seed in range(50):
        found = view(image(6, 5), generator(seed))
        assert found.labels.shape == (3, 3)
        np.testing.assert_array_equal(found.inputs[..., 0], found.labels)
        seen.add((int(found.labels[0, 0]), int(found.labels[0, 1] - found.labels[0, 0])))
    assert len(seen) > 12
    assert {step for _, step in seen} == {-1, 1}


def test_a_short_side_is_taken_whole() -> None:
    assert RandomView(crop=4)(image(2, 9), generator()).labels.shape == (2, 4)


def test_a_resized_example_has_the_label_of_the_nearest_position() -> None:
    view = RandomView(scales=(2.0, 2.0))
    found = view(image(2, 3), generator())
    np.testing.assert_array_equal(found.labels, np.kron(image(2, 3).labels, np.ones((2, 2))))
    assert found.inputs.shape == (4, 6, 1)
    # Linear interpolation keeps the mean of places at equal distances.
    assert found.inputs.mean() == pytest.approx(image(2, 3).inputs.mean())


def test_planned_shapes_are_at_least_the_real_ones() -> None:
    view = RandomView(crop=7, scales=(0.5, 1.5))
    planned = view.shapes(np.array([[6, 4]], dtype=np.int32))[0]
    for seed in range(20):
        real = view(image(6, 4), generator(seed)).labels.shape
        assert all(a <= b for a, b in zip(real, planned.tolist(), strict=True))


def stored() -> LabelledStore:
    """Two images: one, and three pieces of 4 x 4."""
    images = [image(3, 4), image(12, 4)]
    labels = [found.labels.reshape(-1) + 1 for found in images]
    return LabelledStore(
        ValueStore.from_arrays([found.inputs for found in images], 2, 1),
        TokenStore.from_sequences(labels, 49),
        True,
    )


def test_an_epoch_has_as_many_pieces_as_fit() -> None:
    pieces = PieceStore(stored(), crop=4, repeat=2)
    assert len(pieces) == 2 * (1 + 3)
    assert [len(example.labels) for example in pieces.gather(np.arange(8))] == [3, 3] + [12] * 6


def test_pieces_depend_on_seed_epoch_and_index_alone() -> None:
    def batch(seed: int, epoch: int, indices: list[int]) -> list[list[int]]:
        store = PieceStore(stored(), crop=4, repeat=1)
        dataset = LabelledDataset(store, transform=RandomView(crop=4), seed=seed)
        return dataset.batch(np.array(indices), epoch).targets.tolist()

    assert batch(1, 1, [3, 2]) == batch(1, 1, [2, 3])[::-1]
    assert batch(1, 1, [1, 2, 3]) != batch(1, 2, [1, 2, 3])
    assert batch(1, 1, [1, 2, 3]) != batch(2, 1, [1, 2, 3])
