import pickle

import numpy as np
import pytest
import torch

from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import DataError

SOURCES = [[4, 5, 6], [7], []]
TARGETS = [[8], [4, 4], [5]]


def pairs(with_target: bool = True) -> PairDataset:
    target = TokenStore.from_sequences(TARGETS, 10) if with_target else None
    return PairDataset(TokenStore.from_sequences(SOURCES, 10), target)


def test_a_batch_holds_source_shifted_target_and_target() -> None:
    batch = pairs().batch(np.array([1, 0]), epoch=1)
    assert batch.inputs["source_tokens"].tolist() == [[7, 2, 1, 1], [4, 5, 6, 2]]
    assert batch.inputs["prev_output_tokens"].tolist() == [[2, 4, 4], [2, 8, 1]]
    assert batch.targets.tolist() == [[4, 4, 2], [8, 2, 1]]
    assert batch.ids.tolist() == [1, 0]
    assert batch.num_targets == 5
    assert batch.num_tokens == 6 + 5
    assert batch.num_positions == 8 + 6


def test_without_targets_the_examples_are_real_and_nothing_counts_in_the_loss() -> None:
    batch = pairs(with_target=False).batch(np.array([2, 1]), epoch=1)
    assert batch.inputs["source_tokens"].tolist() == [[2, 1], [7, 2]]
    assert batch.inputs["prev_output_tokens"].tolist() == [[2], [2]]
    assert batch.targets.tolist() == [[1], [1]]
    assert batch.ids.tolist() == [2, 1]
    assert batch.num_targets == 0
    assert batch.num_tokens == 3


def test_the_empty_batch_has_one_row_and_no_examples() -> None:
    batch = pairs().empty_batch()
    assert batch.inputs["source_tokens"].tolist() == [[2]]
    assert batch.inputs["prev_output_tokens"].tolist() == [[2]]
    assert batch.targets.tolist() == [[1]]
    assert (batch.num_examples, batch.num_targets, batch.num_tokens) == (0, 0, 0)
    assert {tensor.dtype for tensor in batch.inputs.values()} == {torch.int64}


def test_lengths_count_eos_on_both_sides() -> None:
    dataset = pairs()
    assert dataset.lengths.tolist() == [[4, 2], [2, 3], [1, 2]]
    assert dataset.lengths.dtype == np.int32
    assert dataset.lengths_at(np.array([2, 0])).tolist() == [[1, 2], [4, 2]]
    assert pairs(with_target=False).lengths.tolist() == [[4], [2], [1]]
    assert len(dataset) == 3


def test_the_fingerprint_is_of_the_content() -> None:
    dataset = pairs()
    assert dataset.fingerprint == pickle.loads(pickle.dumps(dataset)).fingerprint
    assert dataset.fingerprint != pairs(with_target=False).fingerprint


def test_sides_of_different_length_are_refused_with_both_counts() -> None:
    with pytest.raises(DataError, match="3 examples and the target 1"):
        PairDataset(TokenStore.from_sequences(SOURCES, 10), TokenStore.from_sequences([[4]], 10))
