"""Blocks of text as a language model trains on them: each symbol given those before it."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.collate import pad_ragged, ranges
from seqtrain.data.dataset import Dataset
from seqtrain.data.token_blocks import TokenBlocks
from seqtrain.data.token_stream import IntArray
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.errors import ConfigError

OUTSIDE = -1  # document of padding


class PackedDataset(Dataset):
    """Rows of a stream; each symbol is a target exactly once.

    Targets are a block's symbols, `prev_output_tokens` the stream one place earlier, both
    [batch, time]. Before the first symbol of the stream stands eos; before the first of a document
    too, unless blocks cross documents and these are not isolated.

    Args:
        blocks: What is cut from the stream.
        isolate_documents: Also give `document_ids`, [batch, time], from 0 in each row and -1 at
            padding, so that no position sees another document (see DecoderModel).
        context: So many symbols before each block stand in its row as well, with padding as their
            target. They do not reach behind the beginning of a document that is isolated or that
            blocks do not cross.

    Raises:
        ConfigError: The context is negative.
    """

    def __init__(
        self, blocks: TokenBlocks, *, isolate_documents: bool = False, context: int = 0
    ) -> None:
        if context < 0:
            raise ConfigError(f"The context of blocks must be at least 0, got {context}.")
        self.blocks = blocks
        self._isolate = isolate_documents
        self._context = context
        self._has_starts = isolate_documents or not blocks.crosses_documents

    @override
    def __len__(self) -> int:
        return len(self.blocks)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        _, lengths, before = self._rows(indices)
        return (lengths + before).astype(np.int32)[:, None]

    @property
    @override
    def fingerprint(self) -> str:
        parts = (self.blocks.fingerprint, self._isolate, self._context)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def shortened(self, longest: Sequence[int]) -> Dataset:
        limit = longest[0]
        most = self.blocks.tokens_per_sample + self._context
        if limit and limit < most:
            raise ConfigError(
                f"Blocks of up to {most} symbols are not cut to {limit}: give tokens_per_sample "
                "that fits dataset.max_tokens and dataset.max_source_positions."
            )
        return self

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        begins, lengths, before = self._rows(indices)
        begins, widths = begins - before, lengths + before
        rows = self._with_previous(begins, widths)
        ends = np.cumsum(widths + 1)
        is_first, is_last = np.zeros((2, len(rows)), dtype=np.bool_)
        is_first[ends - widths - 1] = is_last[ends - 1] = True
        previous, symbols = rows[~is_last], rows[~is_first]
        starts = self._document_starts(begins, widths)
        if self._has_starts:
            previous[starts] = EOS
        row_starts = np.cumsum(widths) - widths
        symbols[ranges(row_starts, before)] = PADDING
        inputs = {"prev_output_tokens": pad_ragged(previous, widths, PADDING)}
        if self._isolate:
            numbers = np.cumsum(starts, dtype=np.int64)
            numbers -= np.repeat(numbers[row_starts], widths)
            inputs["document_ids"] = pad_ragged(numbers, widths, OUTSIDE)
        targets = pad_ragged(symbols, widths, PADDING)
        return Batch(
            inputs=inputs,
            targets=targets,
            ids=torch.tensor(indices, dtype=torch.int64),
            num_targets=int(lengths.sum()),
            num_tokens=int(widths.sum()),
            num_positions=targets.numel(),
        )

    @override
    def empty_batch(self) -> Batch:
        inputs = {"prev_output_tokens": torch.tensor([[EOS]])}
        if self._isolate:
            inputs["document_ids"] = torch.tensor([[0]])
        return Batch(
            inputs=inputs,
            targets=torch.tensor([[PADDING]]),
            ids=torch.zeros(0, dtype=torch.int64),
            num_targets=0,
        )

    def _rows(self, indices: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Returns the beginnings and lengths of blocks, and the length of what stands before."""
        begins, lengths = self.blocks.extents(indices)
        if self._context == 0:
            return begins, lengths, np.zeros_like(begins)
        floor = np.zeros_like(begins)
        if self._has_starts:
            documents = self.blocks.documents
            floor = documents.begins(documents.at(begins))
        return begins, lengths, np.minimum(begins - floor, self._context)

    def _with_previous(self, begins: IntArray, widths: IntArray) -> IntArray:
        """Returns the symbols of each row with the one before it, eos before the stream."""
        has_previous = begins > 0
        places = np.cumsum(widths + 1) - widths - has_previous
        rows = np.full(int((widths + 1).sum()), EOS, dtype=np.int64)
        counts = widths + has_previous
        rows[ranges(places, counts)] = self.blocks.stream.read(begins - has_previous, counts)
        return rows

    def _document_starts(self, begins: IntArray, widths: IntArray) -> npt.NDArray[np.bool_]:
        """Says which symbols of the rows are the first of a document."""
        found = np.zeros(int(widths.sum()), dtype=np.bool_)
        if not self._has_starts:
            return found
        documents = self.blocks.documents
        first, last = documents.at(begins), documents.at(begins + widths - 1)
        counts = last - first + 1
        starts = documents.begins(ranges(first, counts))
        rows = np.repeat(np.arange(len(begins)), counts)
        inside = starts >= begins[rows]
        places = starts - begins[rows] + (np.cumsum(widths) - widths)[rows]
        found[places[inside]] = True
        return found
