import pickle

import numpy as np
import pytest

from seqtrain.data.altered_store import CutStore, EdgedStore
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.token_blocks import TokenBlocks
from seqtrain.data.token_store import TokenStore
from seqtrain.errors import ConfigError, DataError

LINES = [[4, 5, 6], [], [7], [8, 9]]


def store() -> TokenStore:
    return TokenStore.from_sequences(LINES, 10)


@pytest.mark.parametrize(
    ("prepend", "append"), [(None, None), (10, None), (None, 11), (10, 11), (2, 2)]
)
def test_each_entry_begins_and_ends_with_the_ids(prepend: int | None, append: int | None) -> None:
    edged = EdgedStore(store(), 12, prepend, append)
    before, after = ([] if edge is None else [edge] for edge in (prepend, append))
    expected = [[*before, *line, *after] for line in LINES]
    assert [edged[index].tolist() for index in range(4)] == expected
    order = np.array([3, 1, 3, 0])
    flat, lengths = edged.gather(order)
    assert flat.tolist() == [token for index in order for token in expected[index]]
    assert lengths.tolist() == [len(expected[index]) for index in order]
    assert edged.lengths.tolist() == [len(line) for line in expected]
    assert edged.num_tokens == sum(map(len, expected))
    assert edged.count(2) == sum(line.count(2) for line in expected)
    assert edged.vocab_size == 12
    begins = np.cumsum([0, *map(len, expected)])
    assert edged.begins_at(np.arange(5)).tolist() == begins.tolist()
    assert edged.read(np.array([1, 0]), np.array([3, 5])).tolist() == (
        [t for line in expected for t in line][1:4] + [t for line in expected for t in line][:5]
    )


def test_tags_of_joined_corpora_stay_with_their_lines() -> None:
    tagged = JoinedStore([EdgedStore(store(), 12, prepend=tag) for tag in (10, 11)])
    assert [tagged[index][0] for index in range(8)] == [10] * 4 + [11] * 4
    blocks = TokenBlocks(tagged, 100, "none")
    assert blocks[0].tolist() == [
        token for tag in (10, 11) for line in LINES for token in [tag, *line, 2]
    ]


def test_cut_entries_are_the_beginnings() -> None:
    cut = CutStore(store(), 2)
    assert [cut[index].tolist() for index in range(4)] == [[4, 5], [], [7], [8, 9]]
    assert cut.lengths.tolist() == [2, 0, 1, 2]
    assert cut.num_tokens == 5
    assert cut.count(6) == 0
    assert cut.gather(np.array([3, 0]))[0].tolist() == [8, 9, 4, 5]
    assert pickle.loads(pickle.dumps(cut)).fingerprint == store().fingerprint


def test_fingerprints_tell_edges_apart_and_what_cannot_be_is_refused() -> None:
    kinds = [(10, None), (None, 10), (11, None), (10, 10)]
    assert len({EdgedStore(store(), 12, *edges).fingerprint for edges in kinds}) == len(kinds)
    with pytest.raises(DataError, match="id 12 .* 12 symbols"):
        EdgedStore(store(), 12, prepend=12)
    with pytest.raises(ConfigError, match="cut to 0"):
        CutStore(store(), 0)
