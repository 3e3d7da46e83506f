"""A part of a dataset: the same examples, under the numbers that the caller gives."""

import numpy as np
import pytest
import torch

from seqtrain.data.dataset_part import DatasetPart
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import DataError


def pairs() -> PairDataset:
    rows = [[4 + i] * (1 + i % 3) for i in range(7)]
    return PairDataset(TokenStore.from_sequences(rows, 20), TokenStore.from_sequences(rows, 20))


def test_a_part_has_the_examples_of_the_whole_and_their_indices() -> None:
    whole = pairs()
    part = DatasetPart(whole, range(2, 5))
    batch, expected = (d.batch(np.array(i), 1) for d, i in ((part, [2, 0]), (whole, [4, 2])))
    assert batch.ids.tolist() == [4, 2]
    torch.testing.assert_close(batch.targets, expected.targets)
    assert part.lengths.tolist() == whole.lengths[2:5].tolist()
    assert part.lengths_at(np.array([1])).tolist() == whole.lengths[3:4].tolist()


def test_a_part_may_be_known_by_other_numbers() -> None:
    part = DatasetPart(pairs(), [6, 0], [100, 50])
    assert part.batch(np.array([1, 0]), 1).ids.tolist() == [50, 100]
    assert part.fingerprint != DatasetPart(pairs(), [6, 0]).fingerprint
    with pytest.raises(DataError, match="1 numbers for 2 examples"):
        DatasetPart(pairs(), [6, 0], [1])
