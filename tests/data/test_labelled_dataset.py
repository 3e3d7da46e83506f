import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_toy import series, settings, write_npz

from seqtrain.data.labelled.augment import RandAugment
from seqtrain.data.labelled.data import load_raw_labelled
from seqtrain.data.labelled.dataset import ExampleTransform, LabelledDataset
from seqtrain.data.labelled.store import Example, LabelledStore
from seqtrain.data.labelled.values import ValueStore
from seqtrain.data.token_store import TokenStore

VALUES, LABELS = series(7, seed=0)
ALL = np.arange(7)


@pytest.fixture
def store(tmp_path: Path) -> LabelledStore:
    path = write_npz(tmp_path / "a.npz", VALUES, LABELS)
    return load_raw_labelled(settings(path, scale="none")).store("train")


def images(count: int) -> LabelledStore:
    generator = np.random.default_rng(0)
    arrays = [generator.random((4 + index, 3, 2), dtype=np.float32) for index in range(count)]
    labels = [generator.integers(0, 4, size=a.shape[0] * 3) for a in arrays]
    return LabelledStore(
        ValueStore.from_arrays(arrays, 2, 2), TokenStore.from_sequences(labels, 4), True
    )


def test_a_batch_holds_its_examples_and_says_where_padding_is(store: LabelledStore) -> None:
    order = np.array([4, 0, 6])
    batch = LabelledDataset(store).batch(order, epoch=1)
    assert batch.ids.tolist() == order.tolist()
    assert batch.num_targets == 3
    assert batch.num_tokens == sum(len(VALUES[i]) for i in order)
    for row, index in enumerate(order):
        length = len(VALUES[index])
        np.testing.assert_array_equal(batch.inputs["values"][row, :length], VALUES[index])
        assert not batch.inputs["values"][row, length:].any()
        mask = batch.inputs["padding_mask"][row]
        assert mask.tolist() == [False] * length + [True] * (len(mask) - length)
    assert batch.targets.tolist() == ["abc".index(LABELS[i]) for i in order]


def test_images_are_padded_below_and_to_the_right_with_their_labels() -> None:
    stored = images(3)
    batch = LabelledDataset(stored).batch(np.array([2, 0]), epoch=1)
    assert batch.inputs["values"].shape == (2, 6, 3, 2)
    assert batch.inputs["padding_mask"][1].tolist() == [[False] * 3] * 4 + [[True] * 3] * 2
    assert batch.targets[1, 4:].eq(-1).all()
    np.testing.assert_array_equal(batch.targets[1, :4], stored.example(0).labels)
    assert batch.num_targets == int(batch.targets.ne(-1).sum())


def test_patches_are_squares_row_by_row() -> None:
    image = np.arange(2 * 5 * 3, dtype=np.float32).reshape(5, 3, 2)
    stored = LabelledStore(
        ValueStore.from_arrays([image], 2, 2), TokenStore.from_sequences([[1]], 2), False
    )
    dataset = LabelledDataset(stored, patch_size=2)
    assert dataset.lengths.tolist() == [[6]]
    patches = dataset.batch(np.array([0]), 1).inputs["values"][0].reshape(3, 2, 2, 2, 2)
    for i in range(6):
        for j in range(4):
            inside = i < 5 and j < 3
            expected = image[i, j].tolist() if inside else [0.0, 0.0]
            assert patches[i // 2, j // 2, i % 2, j % 2].tolist() == expected
    assert dataset.empty_batch().inputs["values"].shape == (1, 1, 8)


@dataclass(frozen=True)
class Halve(ExampleTransform):
    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        begin = int(generator.integers(0, 2))
        return Example(example.inputs[begin : begin + len(example.inputs) // 2], example.labels)

    def shapes(self, shapes: Any) -> Any:
        return shapes // 2


def test_changes_of_an_example_depend_on_seed_epoch_and_index_alone(store: LabelledStore) -> None:
    change = RandAugment(("jitter",), 1, 0.5)

    def rows(indices: list[int], epoch: int = 1, seed: int = 5) -> torch.Tensor:
        dataset = LabelledDataset(store, transform=change, seed=seed)
        # A batch of one length, so that rows can be compared.
        batch = pickle.loads(pickle.dumps(dataset)).batch(np.array([*indices, 3]), epoch)
        return batch.inputs["values"][: len(indices), :4]

    expected = rows([2, 5])
    assert torch.equal(rows([5, 2]).flip(0), expected)
    assert torch.equal(torch.cat([rows([2]), rows([5])]), expected)
    assert not torch.equal(rows([2, 5], epoch=2), expected)
    assert not torch.equal(rows([2, 5], seed=6), expected)


def test_planning_knows_the_lengths_after_the_change(store: LabelledStore) -> None:
    dataset = LabelledDataset(store, transform=Halve())
    batch = dataset.batch(ALL, 1)
    assert (~batch.inputs["padding_mask"]).sum(dim=1).tolist() == dataset.lengths[:, 0].tolist()
    assert dataset.fingerprint != LabelledDataset(store).fingerprint


def test_an_epoch_may_have_each_example_several_times(store: LabelledStore) -> None:
    dataset = LabelledDataset(store, transform=RandAugment(("jitter",), 1, 0.5), repeat=3)
    assert len(dataset) == 21
    assert dataset.lengths.tolist() == dataset.lengths_at(np.arange(21)).tolist()
    values = dataset.batch(np.array([1, 8, 15]), 1).inputs["values"]
    assert not torch.equal(values[0], values[1])
    assert not torch.equal(values[1], values[2])


def test_the_empty_batch_has_the_form_of_the_others() -> None:
    dataset = LabelledDataset(images(2))
    batch, empty = dataset.batch(np.array([0]), 1), dataset.empty_batch()
    assert batch.inputs.keys() == empty.inputs.keys()
    for name, tensor in batch.inputs.items():
        assert (tensor.dim(), tensor.dtype) == (
            empty.inputs[name].dim(), empty.inputs[name].dtype,
        )  # fmt: skip
    assert empty.num_targets == empty.num_examples == 0
    assert empty.targets.tolist() == [[[-1]]]
