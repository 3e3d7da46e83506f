"""Beginnings of texts, which a language model continues."""

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.collate import pad_ragged
from seqtrain.data.dataset import Dataset
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.vocabulary import EOS, PADDING


class PromptDataset(Dataset):
    """Sequences without targets: `prev_output_tokens` is eos and the sequence.

    Args:
        store: One entry for each example, eos not included.
    """

    def __init__(self, store: SequenceStore) -> None:
        self.store = store

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.store.lengths[:, None] + np.int32(1)

    @property
    @override
    def fingerprint(self) -> str:
        return self.store.fingerprint

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        flat, lengths = self.store.gather(indices)
        prompts = pad_ragged(flat, lengths, PADDING, prepend=EOS)
        return Batch(
            inputs={"prev_output_tokens": prompts},
            targets=torch.full_like(prompts, PADDING),
            ids=torch.tensor(indices, dtype=torch.int64),
            num_targets=0,
            num_tokens=len(flat) + len(indices),
            num_positions=prompts.numel(),
        )

    @override
    def empty_batch(self) -> Batch:
        return Batch(
            inputs={"prev_output_tokens": torch.tensor([[EOS]])},
            targets=torch.tensor([[PADDING]]),
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
        )
