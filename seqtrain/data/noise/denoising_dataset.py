"""Noised sequences and the originals, as a denoising model trains on them."""

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
from seqtrain.data.noise.denoising import DenoisingConfig, Noise, keep
from seqtrain.data.noise.masking import Rows
from seqtrain.data.noise.word_marks import WordMarks
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.errors import ConfigError


class DenoisingDataset(Dataset):
    """Sequences with other noise in each epoch.

    Inputs are `source_tokens`, [batch, source time], the noised sequence and eos, and
    `prev_output_tokens`, [batch, target time], eos and the target; targets are the target and eos.
    The target is the sequence, or its hidden spans with `span_corruption`. The noise is a function
    of (seed, epoch, example index).

    Args:
        sequences: Lines or blocks; sentences within them end with eos. A final eos is not doubled.
        config: The noise.
        mask_index: Id of the mask: the size of the vocabulary. Sentinels are the ids behind it.
        seed: The run's.
        word_marks: Where words begin; needed if words are noised as a whole.

    Raises:
        ConfigError: Words are to be noised and where they begin is not known.
    """

    def __init__(
        self,
        sequences: SequenceStore,
        config: DenoisingConfig,
        *,
        mask_index: int,
        seed: int,
        word_marks: WordMarks | None = None,
    ) -> None:
        if config.whole_words and word_marks is None:
            raise ConfigError(
                "noise.whole_words=true needs a vocabulary that marks where words begin."
            )
        self._sequences = sequences
        self._noise = Noise(config, mask_index, word_marks)
        self._seed = seed

    @override
    def __len__(self) -> int:
        return len(self._sequences)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        """Most positions of each example, [examples, 2]: noise decides how many there are."""
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        source = target = self._sequences.lengths_at(indices)
        if self._noise.config.span_corruption:
            target = sum(self._noise.num_in_spans(source), start=0 * source)
        return (np.stack([source, target], axis=1) + 1).astype(np.int32)

    @property
    @override
    def fingerprint(self) -> str:
        settings = (self._noise.config, self._noise.mask_index, self._seed)
        parts = (self._sequences.fingerprint, settings)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        # A target is never longer than its sequence, of which only one length can be limited.
        limits = [limit for limit in longest if limit]
        if not limits:
            return self
        return DenoisingDataset(
            CutStore(self._sequences, min(limits) - 1),
            self._noise.config,
            mask_index=self._noise.mask_index,
            seed=self._seed,
            word_marks=self._noise.marks,
        )

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        original = _without_final_eos(Rows(*self._sequences.gather(indices)))
        random = ExampleRandom(self._seed, epoch, indices)
        if self._noise.config.span_corruption:
            source, target = self._noise.replace_by_sentinels(original, random)
        else:
            source, target = self._noise.corrupt(original, random), original
        source_tokens = pad_ragged(source.flat, source.lengths, PADDING, append=EOS)
        targets = pad_ragged(target.flat, target.lengths, PADDING, append=EOS)
        num_targets = len(target.flat) + len(indices)
        return Batch(
            inputs={
                "source_tokens": source_tokens,
                "prev_output_tokens": pad_ragged(target.flat, target.lengths, PADDING, prepend=EOS),
            },
            targets=targets,
            ids=torch.tensor(indices, dtype=torch.int64),
            num_targets=num_targets,
            num_tokens=len(source.flat) + len(indices) + num_targets,
            num_positions=source_tokens.numel() + targets.numel(),
        )

    @override
    def empty_batch(self) -> Batch:
        eos = torch.tensor([[EOS]])
        return Batch(
            inputs={"source_tokens": eos, "prev_output_tokens": eos.clone()},
            targets=torch.tensor([[PADDING]]),
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
        )


def _without_final_eos(rows: Rows) -> Rows:
    is_kept = np.ones(len(rows.flat), dtype=np.bool_)
    last = np.cumsum(rows.lengths)[rows.lengths > 0] - 1
    is_kept[last[rows.flat[last] == EOS]] = False
    return keep(rows, is_kept)
