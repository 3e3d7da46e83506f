"""Pairs of a source and a target sequence, as translation trains on them."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.altered_store import CutStore
from seqtrain.data.collate import pad_ragged
from seqtrain.data.dataset import Dataset
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.errors import DataError


class PairDataset(Dataset):
    """Source sequences with target sequences, or alone for inference.

    Inputs are `source_tokens`, [batch, source time], the source and eos, padded on the right, and
    `prev_output_tokens`, [batch, target time], eos and the target. Targets are the target and
    eos. Without targets `prev_output_tokens` is eos alone and targets are padding.

    Args:
        source: One entry for each example, eos not included.
        target: The same, or None for inference.
    """

    def __init__(self, source: SequenceStore, target: SequenceStore | None = None) -> None:
        if target is not None and len(source) != len(target):
            raise DataError(
                f"The source has {len(source)} examples and the target {len(target)}. "
                "Run seqtrain-preprocess again."
            )
        self.source = source
        self.target = target

    @override
    def __len__(self) -> int:
        return len(self.source)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return np.stack([store.lengths for store in self._stores()], axis=1) + np.int32(1)

    @override
    def lengths_at(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        columns = [store.lengths_at(indices) for store in self._stores()]
        return (np.stack(columns, axis=1) + 1).astype(np.int32)

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        # The limits count eos, the stores do not.
        stores = [
            CutStore(store, limit - 1) if limit else store
            for store, limit in zip(self._stores(), longest, strict=False)
        ]
        return PairDataset(*stores)

    @property
    @override
    def fingerprint(self) -> str:
        parts = [store.fingerprint for store in self._stores()]
        return blake2b(" ".join(parts).encode(), digest_size=8).hexdigest()

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        flat, lengths = self.source.gather(indices)
        source_tokens = pad_ragged(flat, lengths, PADDING, append=EOS)
        num_source = len(flat) + len(indices)
        if self.target is None:
            prev_output_tokens = torch.full((len(indices), 1), EOS)
            targets = torch.full((len(indices), 1), PADDING)
            num_targets = num_target_positions = 0
        else:
            flat, lengths = self.target.gather(indices)
            prev_output_tokens = pad_ragged(flat, lengths, PADDING, prepend=EOS)
            targets = pad_ragged(flat, lengths, PADDING, append=EOS)
            num_targets = len(flat) + len(indices)
            num_target_positions = targets.numel()
        return Batch(
            inputs=_inputs(source_tokens, prev_output_tokens),
            targets=targets,
            ids=torch.tensor(indices, dtype=torch.int64),
            num_targets=num_targets,
            num_tokens=num_source + num_targets,
            num_positions=source_tokens.numel() + num_target_positions,
        )

    @override
    def empty_batch(self) -> Batch:
        return Batch(
            inputs=_inputs(torch.tensor([[EOS]]), torch.tensor([[EOS]])),
            targets=torch.tensor([[PADDING]]),
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
        )

    def _stores(self) -> list[SequenceStore]:
        return [self.source] if self.target is None else [self.source, self.target]


def _inputs(source_tokens: Tensor, prev_output_tokens: Tensor) -> dict[str, Tensor]:
    return {"source_tokens": source_tokens, "prev_output_tokens": prev_output_tokens}
