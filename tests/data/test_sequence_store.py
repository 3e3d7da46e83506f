import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data import array_file, token_store
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.sequence_store import SequenceStore, entries_at
from seqtrain.data.text.fairseq_store import MMAP_HEADER, MMAP_MAGIC, FairseqStore
from seqtrain.data.token_store import TokenStore, TokenStoreWriter
from seqtrain.errors import DataError

Lines = list[list[int]]


def in_file(folder: Path, lines: Lines) -> TokenStore:
    with TokenStoreWriter(folder / "x", 99) as writer:
        writer.append_many(lines)
    return TokenStore(folder / "x")


def of_fairseq(folder: Path, lines: Lines) -> FairseqStore:
    ended = [[*line, 2] for line in lines]
    sizes = np.array([len(line) for line in ended], dtype="<i4")
    offsets = ((np.cumsum(sizes) - sizes) * 2).astype("<i8")
    header = struct.Struct(MMAP_HEADER.format).pack(MMAP_MAGIC, 1, 8, len(lines))
    (folder / "f.idx").write_bytes(header + sizes.tobytes() + offsets.tobytes())
    flat = np.array([token for line in ended for token in line], dtype="<u2")
    (folder / "f.bin").write_bytes(flat.tobytes())
    return FairseqStore(folder / "f", 99)


def joined(folder: Path, lines: Lines) -> JoinedStore:
    half = len(lines) // 2
    first = in_file(folder, lines[:half])
    empty = TokenStore.from_sequences([], 99)
    return JoinedStore([first, empty, TokenStore.from_sequences(lines[half:], 99)])


@settings(max_examples=30, deadline=None)
@given(
    lines=st.lists(st.lists(st.integers(4, 98), max_size=6), min_size=1, max_size=12),
    make=st.sampled_from([in_file, of_fairseq, joined]),
    data=st.data(),
    mapped=st.booleans(),
)
def test_ranges_are_read_wherever_entries_begin(
    tmp_path_factory: pytest.TempPathFactory, lines: Lines, make: type, data: st.DataObject,
    mapped: bool,
) -> None:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        if not mapped:
            patch.setattr(array_file, "MAPPED_BYTES", 0)
        store: SequenceStore = make(tmp_path_factory.mktemp("store"), lines)
        begins = np.cumsum([0, *map(len, lines)])
        order = np.array(data.draw(st.permutations(range(len(lines) + 1))))
        assert store.begins_at(order).tolist() == begins[order].tolist()
        flat = [token for line in lines for token in line]
        ranges = data.draw(
            st.lists(st.tuples(st.integers(0, len(flat)), st.integers(0, len(flat))), max_size=5)
        )
        ranges = [(min(pair), max(pair)) for pair in ranges]
        found = store.read(
            np.array([begin for begin, _ in ranges], dtype=np.int64),
            np.array([end - begin for begin, end in ranges], dtype=np.int64),
        )
        assert found.tolist() == [token for begin, end in ranges for token in flat[begin:end]]
        places = np.arange(len(flat))
        owners = [number for number, line in enumerate(lines) for _ in line]
        assert entries_at(store, places).tolist() == owners
        with pytest.raises(IndexError):
            store.begins_at(np.array([len(lines) + 1]))


def test_damage_is_found_where_ranges_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_file, "MAPPED_BYTES", 0)
    in_file(tmp_path, [[4, 5], [6, 7], [8]])
    store = TokenStore(tmp_path / "x")
    for begin, length in ((-1, 2), (4, 2), (0, 99)):
        with pytest.raises(DataError, match=r"x\.index: entries are not in order"):
            store.read(np.array([begin]), np.array([length]))
    (tmp_path / "x.tokens").write_bytes(np.array([4, 5, 6, 200, 8], dtype="<u1").tobytes())
    assert store.read(np.array([0]), np.array([3])).tolist() == [4, 5, 6]
    with pytest.raises(DataError, match=r"x\.tokens: entry 1 holds the id 200"):
        TokenStore(tmp_path / "x").read(np.array([2]), np.array([2]))
    index = tmp_path / "x.index"
    content = index.read_bytes()
    place = token_store.HEADER_BYTES + 8
    index.write_bytes(content[:place] + struct.pack("<q", 2**40) + content[place + 8 :])
    with pytest.raises(DataError, match=r"x\.index: entry 1 reaches"):
        TokenStore(tmp_path / "x").begins_at(np.array([1]))
