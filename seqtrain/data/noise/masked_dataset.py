"""Sequences with hidden symbols, as a masked language model trains on them."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.altered_store import CutStore
from seqtrain.data.collate import pad_ragged
from seqtrain.data.dataset import Dataset
from seqtrain.data.keyed_random import ExampleRandom, IntArray
from seqtrain.data.noise.masking import MaskingConfig, Rows, hide
from seqtrain.data.noise.word_marks import WordMarks
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.vocabulary import BOS, EOS, PADDING
from seqtrain.errors import ConfigError


class MaskedDataset(Dataset):
    """Sequences of which other symbols are hidden in each epoch.

    Inputs are `source_tokens`, [batch, time]; targets hold the symbol at hidden positions and
    padding at all others. What is hidden is a function of (seed, epoch, example index).

    Args:
        sequences: Lines or blocks.
        config: What is hidden.
        mask_index: Id of the mask: the size of the vocabulary, whose ids are all below it.
        seed: The run's.
        word_marks: Where words begin; needed if words are hidden as a whole.
        prepend: Id before each sequence; None for none.

    Raises:
        ConfigError: Words are to be hidden and where they begin is not known.
    """

    def __init__(
        self,
        sequences: SequenceStore,
        config: MaskingConfig,
        *,
        mask_index: int,
        seed: int,
        word_marks: WordMarks | None = None,
        prepend: int | None = BOS,
    ) -> None:
        if config.units == "word" and word_marks is None:
            raise ConfigError("masking.units=word needs a vocabulary that marks where words begin.")
        self._sequences = sequences
        self._config = config
        self._mask_index = mask_index
        self._seed = seed
        self._marks = word_marks
        self._prepend = prepend

    @override
    def __len__(self) -> int:
        return len(self._sequences)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        lengths = self._sequences.lengths_at(indices) + (self._prepend is not None)
        return lengths.astype(np.int32)[:, None]

    @property
    @override
    def fingerprint(self) -> str:
        settings = (self._config, self._mask_index, self._seed, self._prepend)
        parts = (self._sequences.fingerprint, settings)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        if not longest[0]:
            return self
        room = longest[0] - (self._prepend is not None)
        return MaskedDataset(
            CutStore(self._sequences, room),
            self._config,
            mask_index=self._mask_index,
            seed=self._seed,
            word_marks=self._marks,
            prepend=self._prepend,
        )

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        rows = Rows(*self._sequences.gather(indices))
        random = ExampleRandom(self._seed, epoch, indices)
        seen, hidden = hide(rows, self._config, random, self._mask_index, self._marks)
        targets = np.where(hidden, rows.flat, PADDING)
        ahead = None if self._prepend is None else PADDING
        source_tokens = pad_ragged(seen, rows.lengths, PADDING, prepend=self._prepend)
        return Batch(
            inputs={"source_tokens": source_tokens},
            targets=pad_ragged(targets, rows.lengths, PADDING, prepend=ahead),
            ids=torch.tensor(indices, dtype=torch.int64),
            num_targets=int(hidden.sum()),
            num_tokens=len(rows.flat) + len(indices) * (self._prepend is not None),
            num_positions=source_tokens.numel(),
        )

    @override
    def empty_batch(self) -> Batch:
        return Batch(
            inputs={"source_tokens": torch.tensor([[EOS]])},
            targets=torch.tensor([[PADDING]]),
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
        )
