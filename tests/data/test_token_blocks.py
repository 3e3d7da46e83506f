import pickle
import time
import tracemalloc
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from seqtrain.data import bisection, token_cuts
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.token_blocks import BREAK_MODES, TokenBlocks
from seqtrain.data.token_store import Ids, TokenStore
from seqtrain.errors import ConfigError, DataError

Lines = list[list[int]]
EOS = 2


class Plain(SequenceStore):
    """A store that leaves `begins_at` and `read` to the base class."""

    def __init__(self, lines: Lines) -> None:
        self.store = TokenStore.from_sequences(lines, 99)
        self.vocab_size = 99

    @override
    def __len__(self) -> int:
        return len(self.store)

    @property
    @override
    def num_tokens(self) -> int:
        return self.store.num_tokens

    @property
    @override
    def fingerprint(self) -> str:
        return self.store.fingerprint

    @override
    def lengths_at(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self.store.lengths_at(indices)

    @override
    def gather(
        self, indices: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return self.store.gather(indices)

    @override
    def count(self, token: int) -> int:
        return self.store.count(token)


def joined(lines: Lines) -> JoinedStore:
    third = len(lines) // 3
    parts = [lines[:third], [], lines[third : 2 * third], lines[2 * third :]]
    return JoinedStore([TokenStore.from_sequences(part, 99) for part in parts])


def in_memory(lines: Sequence[Ids]) -> TokenStore:
    return TokenStore.from_sequences(lines, 99)


def flatten(lines: Lines) -> list[int]:
    return [token for line in lines for token in line]


def expected_blocks(lines: Lines, documents: list[int], longest: int, mode: str) -> Lines:
    """The blocks by a plain loop. Lines hold their separators, documents the first lines."""
    ends = [*documents[1:], len(lines)] if lines else []
    texts = [lines[begin:end] for begin, end in zip(documents, ends, strict=True)]
    if mode == "none":
        units = [flatten(lines)]
    elif mode == "eos":
        units = lines
    elif mode == "document":
        units = [flatten(text) for text in texts]
    else:
        groups = texts if mode == "complete_doc" else [lines]
        return [block for group in groups for block in greedy(group, longest)]
    return [unit[at : at + longest] for unit in units for at in range(0, len(unit), longest)]


def greedy(lines: Lines, longest: int) -> Lines:
    blocks: Lines = []
    block: list[int] = []
    for line in lines:
        if len(block) + len(line) > longest and block:
            blocks.append(block)
            block = []
        block = block + line
        while len(block) > longest:
            blocks.append(block[:longest])
            block = block[longest:]
    return [*blocks, block] if block else blocks


LINES = st.lists(st.lists(st.integers(4, 98), max_size=9), max_size=40)
STORES = st.sampled_from([in_memory, joined, Plain])


@settings(max_examples=100, deadline=None)
@given(
    lines=LINES,
    data=st.data(),
    longest=st.integers(1, 25),
    mode=st.sampled_from(BREAK_MODES),
    separator=st.sampled_from([None, EOS]),
    make=STORES,
    span=st.integers(1, 60),
    stride=st.integers(1, 5),
)
def test_blocks_are_those_of_a_plain_loop_and_hold_every_symbol_once(
    lines: Lines, data: st.DataObject, longest: int, mode: str, separator: int | None,
    make: type[SequenceStore], span: int, stride: int,
) -> None:  # fmt: skip
    chosen = data.draw(st.lists(st.integers(0, max(len(lines) - 1, 0)), max_size=9))
    documents = sorted([0, *chosen]) if lines else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_cuts, "SPAN", span)
        patch.setattr(token_cuts, "STRIDE", stride)
        patch.setattr(bisection, "MOST_KEPT", 3)
        starts = np.array([*documents, len(lines)] if data.draw(st.booleans()) else documents, int)
        blocks = TokenBlocks(
            make(lines), longest, mode, separator=separator, document_starts=starts
        )
        ended = [[*line, separator] if separator is not None else line for line in lines]
        expected = expected_blocks(ended, documents, longest, mode)
        assert [blocks[index].tolist() for index in range(len(blocks))] == expected
        order = np.array(data.draw(st.permutations(range(len(blocks)))), dtype=np.int64)
        flat, lengths = blocks.gather(order)
        assert flat.tolist() == flatten([expected[index] for index in order])
        assert lengths.tolist() == [len(expected[index]) for index in order]
        assert blocks.lengths_at(order).tolist() == lengths.tolist()
        assert blocks.num_tokens == sum(map(len, expected)) == len(flatten(ended))
        begins = np.cumsum([0, *map(len, expected)])
        assert blocks.begins_at(np.arange(len(blocks) + 1)).tolist() == begins.tolist()
        assert blocks.count(EOS) == flatten(ended).count(EOS)


def test_every_entry_is_a_document_where_none_are_named() -> None:
    store = in_memory([[4, 5, 6], [7], [8, 9]])
    blocks = TokenBlocks(store, 3, "document")
    assert [blocks[index].tolist() for index in range(len(blocks))] == [
        [4, 5, 6], [2], [7, 2], [8, 9, 2],
    ]  # fmt: skip


def test_other_blocks_have_another_fingerprint() -> None:
    store = in_memory([[4, 5], [6]])
    starts = np.array([0, 1])
    kinds = [
        TokenBlocks(store, 4, "none"),
        TokenBlocks(store, 5, "none"),
        TokenBlocks(store, 4, "complete"),
        TokenBlocks(store, 4, "none", separator=None),
        TokenBlocks(store, 4, "none", document_starts=starts),
        TokenBlocks(in_memory([[4], [5, 6]]), 4, "none"),
    ]
    assert len({blocks.fingerprint for blocks in kinds}) == len(kinds)
    again = pickle.loads(pickle.dumps(kinds[2]))
    assert again.fingerprint == kinds[2].fingerprint
    assert again[0].tolist() == kinds[2][0].tolist()


def test_what_cannot_be_is_refused() -> None:
    store = in_memory([[4], [5]])
    with pytest.raises(ConfigError, match="none, complete, complete_doc.*'lines'"):
        TokenBlocks(store, 4, "lines")
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        TokenBlocks(store, 0)
    for starts in ([], [1], [0, 1, 0], [0, 3]):
        with pytest.raises(DataError, match="documents of 2 entries"):
            TokenBlocks(store, 4, document_starts=np.array(starts, dtype=np.int64))
    with pytest.raises(IndexError):
        TokenBlocks(store, 4).gather(np.array([1]))


def test_forty_thousand_lines_are_cut_in_a_fraction_of_a_second() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 40_000)
    store = in_memory(np.split(np.full(lengths.sum(), 5), np.cumsum(lengths)[:-1]))
    for mode in BREAK_MODES:
        began = time.process_time()
        blocks = TokenBlocks(store, 512, mode)
        blocks.lengths_at(np.arange(len(blocks)))
        assert time.process_time() - began < 0.5


def test_memory_is_a_few_bytes_for_each_64_blocks() -> None:
    store = in_memory(np.split(np.full(200_000, 5), 200_000))
    tracemalloc.start()
    try:
        blocks = TokenBlocks(store, 4, "eos")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(blocks) == 200_000
    # One place for each 64 blocks, and those of up to 65,536 entries.
    assert kept < 8 * (200_000 // 64 + 65_536) + 50_000
