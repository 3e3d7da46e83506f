import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.packed_dataset import PackedDataset
from seqtrain.data.token_blocks import BREAK_MODES, TokenBlocks
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import ConfigError

Lines = list[list[int]]
EOS, PADDING = 2, 1


def dataset(
    lines: Lines, longest: int, mode: str, starts: list[int] | None = None, *,
    separator: int | None = EOS, isolate: bool = False, context: int = 0,
) -> PackedDataset:  # fmt: skip
    store = TokenStore.from_sequences(lines, 99)
    documents = None if starts is None else np.array(starts, dtype=np.int64)
    blocks = TokenBlocks(store, longest, mode, separator=separator, document_starts=documents)
    return PackedDataset(blocks, isolate_documents=isolate, context=context)


def test_a_batch_holds_each_symbol_and_the_one_before_it() -> None:
    batch = dataset([[4, 5, 6], [7, 8]], 3, "none").batch(np.array([2, 0, 1]), epoch=1)
    assert batch.targets.tolist() == [[2, 1, 1], [4, 5, 6], [2, 7, 8]]
    assert batch.inputs["prev_output_tokens"].tolist() == [[8, 1, 1], [2, 4, 5], [6, 2, 7]]
    assert set(batch.inputs) == {"prev_output_tokens"}
    assert (batch.num_targets, batch.num_tokens, batch.num_positions) == (7, 7, 9)
    assert batch.ids.tolist() == [2, 0, 1]


def test_isolated_documents_are_numbered_and_begin_with_eos() -> None:
    packed = dataset([[4, 5], [6], [7, 8, 9]], 5, "none", separator=None, isolate=True)
    batch = packed.batch(np.array([0, 1]), epoch=1)
    assert batch.targets.tolist() == [[4, 5, 6, 7, 8], [9, 1, 1, 1, 1]]
    assert batch.inputs["prev_output_tokens"].tolist() == [[2, 4, 2, 2, 7], [8, 1, 1, 1, 1]]
    assert batch.inputs["document_ids"].tolist() == [[0, 0, 1, 2, 2], [0, -1, -1, -1, -1]]
    joined = dataset([[4, 5], [6], [7, 8, 9]], 5, "none", separator=None)
    previous = joined.batch(np.array([0]), 1).inputs["prev_output_tokens"]
    assert previous.tolist() == [[2, 4, 5, 6, 7]]


def test_context_stands_before_the_targets_and_is_none() -> None:
    batch = dataset([[4, 5, 6], [7, 8]], 3, "none", context=2).batch(np.array([0, 1]), epoch=1)
    assert batch.targets.tolist() == [[4, 5, 6, 1, 1], [1, 1, 2, 7, 8]]
    assert batch.inputs["prev_output_tokens"].tolist() == [[2, 4, 5, 1, 1], [4, 5, 6, 2, 7]]
    assert (batch.num_targets, batch.num_tokens) == (6, 8)


def plain_rows(
    lines: Lines, starts: list[int], packed: PackedDataset, separator: int | None, *,
    isolate: bool, context: int,
) -> list[tuple[list[int], list[int], list[int]]]:  # fmt: skip
    """Targets, previous symbols and documents of each row, by a plain loop over the stream."""
    stream, document_of, document = [], [], -1
    for number, line in enumerate(lines):
        document += number in starts
        ended = line if separator is None else [*line, separator]
        stream += ended
        document_of += [document] * len(ended)
    has_starts = isolate or not packed.blocks.crosses_documents
    rows, begin = [], 0
    for index in range(len(packed)):
        end = begin + len(packed.blocks[index])
        first = begin
        while first > 0 and begin - first < context:
            if has_starts and document_of[first - 1] != document_of[begin]:
                break
            first -= 1
        places = range(first, end)
        targets = [stream[at] if at >= begin else PADDING for at in places]
        previous = [
            EOS
            if at == 0 or (has_starts and document_of[at] != document_of[at - 1])
            else stream[at - 1]
            for at in places
        ]
        seen = sorted({document_of[at] for at in places})
        rows.append((targets, previous, [seen.index(document_of[at]) for at in places]))
        begin = end
    return rows


@settings(max_examples=80, deadline=None)
@given(
    lines=st.lists(st.lists(st.integers(4, 98), max_size=7), min_size=1, max_size=20),
    data=st.data(),
    longest=st.integers(1, 20),
    mode=st.sampled_from(BREAK_MODES),
    separator=st.sampled_from([None, EOS]),
    isolate=st.booleans(),
    context=st.integers(0, 12),
)
def test_rows_are_those_of_a_plain_loop_and_every_symbol_is_a_target_once(
    lines: Lines, data: st.DataObject, longest: int, mode: str, separator: int | None,
    isolate: bool, context: int,
) -> None:  # fmt: skip
    starts = sorted({0, *data.draw(st.sets(st.integers(0, len(lines) - 1)))})
    packed = dataset(
        lines, longest, mode, starts, separator=separator, isolate=isolate, context=context
    )
    expected = plain_rows(lines, starts, packed, separator, isolate=isolate, context=context)
    assert packed.lengths.tolist() == [[len(row[0])] for row in expected]
    order = np.array(data.draw(st.permutations(range(len(packed)))), dtype=np.int64)
    if not len(order):
        return
    batch = packed.batch(order, epoch=1)
    for place, index in enumerate(order.tolist()):
        targets, previous, documents = expected[index]
        width, rest = len(targets), batch.targets.shape[1] - len(targets)
        assert batch.targets[place].tolist() == targets + [PADDING] * rest
        row = batch.inputs["prev_output_tokens"][place].tolist()
        assert row == previous + [PADDING] * rest
        if isolate:
            ids = batch.inputs["document_ids"][place].tolist()
            assert ids == documents + [-1] * rest
        assert width == packed.lengths[index, 0]
    num_symbols = sum(map(len, lines)) + len(lines) * (separator is not None)
    assert batch.num_targets == num_symbols == int((batch.targets != PADDING).sum())
    assert batch.num_positions == batch.targets.numel()


def test_the_empty_batch_has_one_row_with_the_same_inputs() -> None:
    packed = dataset([[4, 5]], 3, "none", isolate=True)
    empty, full = packed.empty_batch(), packed.batch(np.array([0]), 1)
    assert set(empty.inputs) == set(full.inputs)
    assert (empty.num_examples, empty.num_targets) == (0, 0)
    assert all(tensor.dtype == torch.int64 for tensor in empty.inputs.values())


def test_blocks_that_do_not_fit_a_limit_are_refused_with_the_way_out() -> None:
    packed = dataset([[4, 5, 6, 7]], 4, "none", context=2)
    assert packed.shortened([6]) is packed
    assert packed.shortened([0]) is packed
    with pytest.raises(ConfigError, match="up to 6 symbols.*tokens_per_sample"):
        packed.shortened([5])
    with pytest.raises(ConfigError, match="at least 0, got -1"):
        dataset([[4]], 4, "none", context=-1)
