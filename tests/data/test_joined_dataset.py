import numpy as np
import pytest
import torch

from seqtrain.batch import Batch
from seqtrain.data.joined_batch import join_batches
from seqtrain.data.joined_dataset import JoinedDataset
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.mixed_dataset import mix_datasets
from seqtrain.data.noise.masked_dataset import MaskedDataset
from seqtrain.data.noise.masking import MaskingConfig
from seqtrain.data.packed_dataset import PackedDataset
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.subsampled_dataset import SubsampledDataset, subsample
from seqtrain.data.token_blocks import TokenBlocks
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import ConfigError, DataError


def lines(count: int, seed: int) -> TokenStore:
    generator = np.random.default_rng(seed)
    return TokenStore.from_sequences(
        [generator.integers(4, 30, generator.integers(0, 9)) for _ in range(count)], 30
    )


def test_joined_datasets_give_what_the_dataset_of_joined_stores_gives() -> None:
    sides = [[lines(count, seed) for count in (4, 0, 3, 5)] for seed in (0, 1)]
    joined = JoinedDataset([PairDataset(*stores) for stores in zip(*sides, strict=True)])
    whole = PairDataset(JoinedStore(sides[0]), JoinedStore(sides[1]))
    assert joined.lengths.tolist() == whole.lengths.tolist()
    assert len(joined) == 12
    for order in ([11, 0, 5, 4, 7], [2], [8, 1]):
        one, other = (each.batch(np.array(order), 1) for each in (joined, whole))
        assert one.ids.tolist() == order
        assert torch.equal(one.targets, other.targets)
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in other.inputs)
        counts = (other.num_targets, other.num_tokens)
        assert (one.num_targets, one.num_tokens) == counts
    assert set(joined.empty_batch().inputs) == set(whole.empty_batch().inputs)
    cut, expected = joined.shortened((5, 4)), whole.shortened((5, 4))
    assert cut.lengths.tolist() == expected.lengths.tolist()


def test_document_numbers_are_padded_with_minus_one_and_positions_are_exact() -> None:
    def packed(longest: int) -> PackedDataset:
        store = TokenStore.from_sequences([[4, 5], [6, 7, 8]], 30)
        return PackedDataset(TokenBlocks(store, longest, "complete"), isolate_documents=True)

    batch = JoinedDataset([packed(7), packed(4)]).batch(np.array([1, 0]), 1)
    assert batch.inputs["document_ids"].tolist() == [
        [0, 0, 0, -1, -1, -1, -1],
        [0, 0, 0, 1, 1, 1, 1],
    ]
    assert batch.targets.tolist() == [[4, 5, 2, 1, 1, 1, 1], [4, 5, 2, 6, 7, 8, 2]]
    assert (batch.num_positions, batch.num_tokens) == (14, 10)


def test_datasets_of_other_kinds_are_not_joined() -> None:
    masked = MaskedDataset(lines(3, 0), MaskingConfig(), mask_index=30, seed=1)
    joined = JoinedDataset([PairDataset(lines(3, 0)), masked])
    with pytest.raises(DataError, match="prev_output_tokens.*cannot be joined"):
        joined.batch(np.array([0, 3]), 1)
    with pytest.raises(DataError, match="at least one"):
        JoinedDataset([])
    values, ids = (
        Batch(inputs={"x": x}, targets=x, ids=torch.tensor([0]), num_targets=1)
        for x in (torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.int64))
    )
    with pytest.raises(DataError, match="differ in type"):
        join_batches([values, ids], [torch.tensor([0]), torch.tensor([1])], np.arange(2))


def test_a_mix_of_datasets_has_the_proportions_that_are_asked_for() -> None:
    datasets = [PairDataset(lines(count, count)) for count in (30, 10)]
    mixed = mix_datasets(datasets, [1.0, 3.0], 1.0, seed=2)
    owners = mixed.examples(np.arange(len(mixed)), epoch=1) >= 30
    assert (len(mixed), int(owners.sum())) == (40, 30)
    assert int((mix_datasets(datasets, [], 1.0, 2).examples(np.arange(40), 1) >= 30).sum()) == 10
    with pytest.raises(ConfigError, match="2 corpora needs as many weights"):
        mix_datasets(datasets, [1.0], 1.0, seed=2)


def test_a_mix_of_what_changes_with_the_epoch_is_planned_with_that_epoch() -> None:
    moving = subsample(PairDataset(lines(30, 0)), seed=1, count=5, per_epoch=True)
    mixed = mix_datasets([moving, PairDataset(lines(4, 1))], [], 1.0, seed=1)
    for epoch in (1, 2, 3):
        planned = mixed.in_epoch(epoch).lengths_at(np.arange(9))
        batch = mixed.batch(np.arange(9), epoch)
        assert planned[:, 0].tolist() == (batch.inputs["source_tokens"] != 1).sum(dim=1).tolist()


def test_a_sample_is_the_same_in_every_epoch_and_part_of_a_larger_one() -> None:
    whole = PairDataset(lines(50, 0))
    small, large = (subsample(whole, seed=3, count=count) for count in (10, 20))
    ids = [
        sample.batch(np.arange(len(sample)), epoch).ids.tolist()
        for sample, epoch in ((small, 1), (small, 9), (large, 1))
    ]
    assert ids[0] == ids[1] == ids[2][:10]
    assert len(set(ids[2])) == 20
    assert small.lengths.tolist() == whole.lengths[ids[0]].tolist()
    other = subsample(whole, seed=4, count=10)
    assert other.batch(np.arange(10), 1).ids.tolist() != ids[0]
    assert len({whole.fingerprint, small.fingerprint, large.fingerprint, other.fingerprint}) == 4


def test_a_sample_of_each_epoch_uses_all_before_one_again() -> None:
    moving = subsample(PairDataset(lines(20, 0)), seed=3, fraction=0.25, per_epoch=True)
    ids = [moving.batch(np.arange(5), epoch).ids.tolist() for epoch in (1, 2, 3, 4)]
    assert sorted(index for each in ids for index in each) == list(range(20))


def test_samples_that_cannot_be_are_refused() -> None:
    whole = PairDataset(lines(5, 0))
    for wrong in ({}, {"count": 2, "fraction": 0.5}, {"fraction": 1.5}, {"fraction": -1.0}):
        with pytest.raises(ConfigError, match="sample"):
            subsample(whole, seed=1, **wrong)  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(ConfigError, match="6 of 5"):
        SubsampledDataset(whole, 6, seed=1)
