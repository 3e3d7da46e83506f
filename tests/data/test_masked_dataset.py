import pickle

import numpy as np
import pytest
import torch

from seqtrain.data.noise.masked_dataset import MaskedDataset
from seqtrain.data.noise.masking import MaskingConfig
from seqtrain.data.token_blocks import TokenBlocks
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import ConfigError

BOS, PADDING, MASK = 0, 1, 30
STORE = TokenStore.from_sequences(
    [np.random.default_rng(n).integers(4, 30, 5 + n % 20) for n in range(40)], 30
)


def dataset(**changes: float | str) -> MaskedDataset:
    config = MaskingConfig(**changes)  # type: ignore[arg-type] # a test's shorthand
    return MaskedDataset(TokenBlocks(STORE, 16, "complete"), config, mask_index=MASK, seed=5)


def test_targets_are_the_hidden_symbols_and_inputs_what_is_seen() -> None:
    blocks = TokenBlocks(STORE, 16, "complete")
    batch = dataset(rate=0.4, unchanged=0.0, random=0.0).batch(np.array([3, 0, 7]), epoch=1)
    for place, index in enumerate((3, 0, 7)):
        original = torch.from_numpy(np.append(BOS, blocks[index]))
        width = len(original)
        seen, targets = batch.inputs["source_tokens"][place], batch.targets[place]
        hidden = targets[:width] != PADDING
        assert torch.equal(torch.where(hidden, targets[:width], seen[:width]), original)
        assert (seen[:width][hidden] == MASK).all()
        assert (seen[width:] == PADDING).all()
        assert (targets[width:] == PADDING).all()
        assert not hidden[0]
    assert batch.num_targets == int((batch.targets != PADDING).sum()) > 0
    assert batch.num_positions == batch.targets.numel() >= batch.num_tokens


def test_what_is_hidden_depends_on_the_epoch_and_the_example_and_nothing_else() -> None:
    masked = dataset()
    together = masked.batch(np.arange(9), epoch=2)
    again = pickle.loads(pickle.dumps(masked))
    for index in range(9):
        alone = again.batch(np.array([index]), epoch=2)
        width = alone.targets.shape[1]
        assert torch.equal(together.targets[index, :width], alone.targets[0])
        seen = together.inputs["source_tokens"][index, :width]
        assert torch.equal(seen, alone.inputs["source_tokens"][0])
    assert not torch.equal(together.targets, masked.batch(np.arange(9), epoch=3).targets)


def test_lengths_and_the_fingerprint_are_of_the_content_and_the_masking() -> None:
    masked = dataset()
    assert masked.lengths_at(np.array([3, 0])).tolist() == [
        [w] for w in (masked.lengths[[3, 0], 0])
    ]
    assert masked.lengths[0, 0] == 1 + len(TokenBlocks(STORE, 16, "complete")[0])
    assert len({dataset().fingerprint, dataset().fingerprint}) == 1
    assert dataset().fingerprint != dataset(rate=0.2).fingerprint


def test_long_sequences_are_cut() -> None:
    masked = MaskedDataset(STORE, MaskingConfig(), mask_index=MASK, seed=5)
    cut = masked.shortened([8])
    assert cut.lengths.max() == 8
    assert cut.fingerprint == masked.fingerprint
    batch = cut.batch(np.array([19]), 1)
    hidden = batch.targets != PADDING
    whole = torch.where(hidden, batch.targets, batch.inputs["source_tokens"])
    same = whole[0, 1:] == torch.from_numpy(STORE[19][:7])
    assert (same | hidden[0, 1:] | (whole[0, 1:] == MASK)).all()
    assert masked.shortened([0]) is masked


def test_the_empty_batch_counts_nothing_and_words_need_marks() -> None:
    empty = dataset().empty_batch()
    assert (empty.num_examples, empty.num_targets) == (0, 0)
    assert set(empty.inputs) == {"source_tokens"}
    with pytest.raises(ConfigError, match="masking.units=word"):
        dataset(units="word")
