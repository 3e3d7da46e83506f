import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.data.collate import pad_ragged

SYMBOL = st.none() | st.integers(0, 9)


@given(
    rows=st.lists(st.lists(st.integers(4, 99), max_size=6), max_size=6),
    prepend=SYMBOL,
    append=SYMBOL,
)
def test_rows_equal_those_of_a_plain_loop(
    rows: list[list[int]], prepend: int | None, append: int | None
) -> None:
    def around(symbol: int | None) -> list[int]:
        return [] if symbol is None else [symbol]

    full = [[*around(prepend), *row, *around(append)] for row in rows]
    width = max([1, len(around(prepend)) + len(around(append)), *map(len, full)])
    expected = torch.tensor([row + [1] * (width - len(row)) for row in full], dtype=torch.int64)
    flat = np.array([token for row in rows for token in row], dtype=np.int64)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padded = pad_ragged(flat, lengths, padding=1, prepend=prepend, append=append)
    assert padded.dtype == torch.int64
    assert torch.equal(padded, expected.reshape(len(rows), width))
