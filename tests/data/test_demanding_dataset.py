"""Examples with demands on their outputs: what batches hold of them."""

import numpy as np
import pytest

from seqtrain.data.demanding_dataset import FORCED_PREFIXES, PHRASES, Demand, DemandingDataset
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.token_store import TokenStore

ROWS = [[5, 6, 7], [8], [9, 9]]


def _dataset(demands: list[Demand]) -> DemandingDataset:
    store = TokenStore.from_sequences([np.array(row) for row in ROWS], 10)
    return DemandingDataset(PairDataset(store), demands)


def test_a_batch_holds_the_demands_of_its_examples_padded() -> None:
    dataset = _dataset([Demand([4], [[5, 6], [7]]), Demand(), Demand([8, 9, 7], [[4]])])
    extras = dataset.batch(np.array([2, 1]), 1).extras
    assert extras[FORCED_PREFIXES].tolist() == [[8, 9, 7], [1, 1, 1]]
    assert extras[PHRASES].tolist() == [[[4]], [[1]]]
    first = dataset.batch(np.array([0]), 1)
    assert first.extras[PHRASES].tolist() == [[[5, 6], [7, 1]]]
    assert first.inputs["source_tokens"].tolist() == [[5, 6, 7, 2]]


def test_without_demands_batches_are_as_before() -> None:
    dataset = _dataset([Demand()] * 3)
    assert dataset.batch(np.arange(3), 1).extras == {}
    assert dataset.empty_batch().extras == {}
    assert len(dataset) == 3


def test_examples_that_are_cut_keep_their_demands() -> None:
    cut = _dataset([Demand((), [[4]])] * 3).shortened([3])
    batch = cut.batch(np.arange(3), 1)
    assert batch.inputs["source_tokens"].size(1) == 3
    assert batch.extras[PHRASES].tolist() == [[[4]]] * 3


def test_another_number_of_demands_is_refused() -> None:
    with pytest.raises(ValueError, match="2 demands for 3 examples"):
        _dataset([Demand()] * 2)
