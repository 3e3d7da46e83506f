"""The batches of fairseq-generate, against its rule written with lists."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.fairseq_batches import padded_source_lengths


def _with_lists(lengths: list[tuple[int, int]], max_tokens: int) -> list[int]:
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i][0], lengths[i][1]))
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in order:
        widest = max(max(lengths[i]) for i in [*batch, index])
        if batch and (len(batch) + 1) * widest > max_tokens:
            kept = max(8 * (len(batch) // 8), len(batch) % 8)
            batches.append(batch[:kept])
            batch = batch[kept:]
        batch.append(index)
    batches.append(batch)
    padded = [0] * len(lengths)
    for batch in batches:
        for index in batch:
            padded[index] = max(lengths[i][0] for i in batch)
    return padded


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60),
    max_tokens=st.integers(30, 400),
)
def test_an_example_is_padded_as_in_the_batch_that_fairseq_makes(
    lengths: list[tuple[int, int]], max_tokens: int
) -> None:
    found = padded_source_lengths(np.array(lengths, dtype=np.int32), max_tokens)
    assert found.tolist() == _with_lists(lengths, max_tokens)
