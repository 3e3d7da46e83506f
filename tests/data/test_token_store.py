import pickle
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.data import array_file, token_store
from seqtrain.data.token_store import TokenStore, TokenStoreWriter, token_dtype
from seqtrain.errors import DataError, MachineError

SIZES = st.sampled_from([5, 256, 257, 65_536, 65_537, 2**31])


def written(prefix: Path, sequences: list[list[int]], vocab_size: int = 300) -> TokenStore:
    with TokenStoreWriter(prefix, vocab_size) as writer:
        writer.append_many(sequences)
    return TokenStore(prefix)


@given(data=st.data(), vocab_size=SIZES)
def test_sequences_come_back_from_files_and_memory_alike(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, vocab_size: int
) -> None:
    sequences = data.draw(st.lists(st.lists(st.integers(0, vocab_size - 1), max_size=9)))
    order = data.draw(st.lists(st.integers(0, max(len(sequences) - 1, 0)), max_size=9))
    order = order if sequences else []
    in_file = written(tmp_path_factory.mktemp("store") / "x", sequences, vocab_size)
    in_memory = TokenStore.from_sequences(sequences, vocab_size)
    for store in (in_file, in_memory, pickle.loads(pickle.dumps(in_file))):
        assert len(store) == len(sequences)
        assert store.lengths.tolist() == [len(ids) for ids in sequences]
        assert [store[index].tolist() for index in range(len(store))] == sequences
        flat, lengths = store.gather(np.array(order, dtype=np.int64))
        assert lengths.tolist() == [len(sequences[index]) for index in order]
        assert flat.tolist() == [token for index in order for token in sequences[index]]
        assert store.lengths_at(np.array(order, dtype=np.int64)).tolist() == lengths.tolist()
        assert store.count(2) == sum(ids.count(2) for ids in sequences)
    assert in_file.fingerprint == in_memory.fingerprint
    in_file.verify()


def test_long_content_is_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "FLUSH_TOKENS", 10)
    sequences = [[number % 7] * (number % 5) for number in range(100)]
    store = written(tmp_path / "x", sequences)
    assert [store[index].tolist() for index in range(100)] == sequences


def test_the_narrowest_type_is_used() -> None:
    sizes = [token_dtype(size).itemsize for size in (256, 257, 65_536, 65_537)]
    assert sizes == [1, 2, 2, 4]


def test_another_content_has_another_fingerprint() -> None:
    contents = [[[4, 5], [6]], [[4], [5, 6]], [[4, 5], [7]], [[6], [4, 5]]]
    assert len({TokenStore.from_sequences(content, 9).fingerprint for content in contents}) == 4


def test_a_file_opened_in_a_worker_is_not_copied(tmp_path: Path) -> None:
    store = written(tmp_path / "x", [[5] * 10_000] * 10)
    assert len(pickle.dumps(store)) < 1000


@pytest.mark.parametrize("ids", [[-1], [300], [2**40]])
def test_ids_outside_of_the_vocabulary_are_refused(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(DataError, match="entry 1: ids must be from 0 to 299"):
        written(tmp_path / "x", [[1], ids])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="entry 0"):
        TokenStore.from_sequences([ids], 300)


def test_an_index_that_does_not_exist_is_an_error() -> None:
    store = TokenStore.from_sequences([[4], [5]], 9)
    for index in (-1, 2):
        with pytest.raises(IndexError, match="0 to 1"):
            store.gather(np.array([0, index]))


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be written"):
        TokenStoreWriter(tmp_path / "missing" / "x", 9)


def test_every_single_damage_is_refused_by_file_name(tmp_path: Path) -> None:
    prefix = tmp_path / "damaged"
    generator = random.Random(0)
    sequences = [[generator.randrange(4, 300) for _ in range(number % 6)] for number in range(40)]
    written(prefix, sequences)
    for suffix in (".tokens", ".index"):
        path = Path(f"{prefix}{suffix}")
        content = path.read_bytes()
        for _ in range(150):
            place = generator.randrange(len(content))
            damaged = bytearray(content)
            damaged[place] ^= 1 << generator.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=rf"damaged\{suffix}"):
                TokenStore(prefix)
        for size in [0, 1, 55, 56, 57, len(content) - 8, len(content) - 1]:
            path.write_bytes(content[:size])
            with pytest.raises(DataError, match="damaged"):
                TokenStore(prefix)
        path.write_bytes(content + b"\0")
        with pytest.raises(DataError, match="bytes"):
            TokenStore(prefix)
        path.unlink()
        with pytest.raises(DataError, match=rf"damaged\{suffix}: No such file"):
            TokenStore(prefix)
        path.write_bytes(content)
    TokenStore(prefix)


def test_files_of_two_stores_do_not_go_together(tmp_path: Path) -> None:
    written(tmp_path / "one", [[4, 5], [6]])
    written(tmp_path / "two", [[4], [7, 6]])
    (tmp_path / "one.tokens").replace(tmp_path / "two.tokens")
    with pytest.raises(DataError, match=r"two\.tokens: the checksum differs"):
        TokenStore(tmp_path / "two")


def test_damage_in_large_files_is_found_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_file, "MAPPED_BYTES", 0)
    written(tmp_path / "x", [[4, 5], [6, 7], [8]])
    index, tokens = tmp_path / "x.index", tmp_path / "x.tokens"
    content = index.read_bytes()
    for wrong in (-5, 1, 2**40):
        place = token_store.HEADER_BYTES + 16
        index.write_bytes(content[:place] + struct.pack("<q", wrong) + content[place + 8 :])
        with pytest.raises(DataError, match=r"x\.index: entry 1 reaches"):
            TokenStore(tmp_path / "x").gather(np.array([0, 1]))
    index.write_bytes(content)
    tokens.write_bytes(np.array([4, 5, 6, 999, 8], dtype="<u2").tobytes())
    store = TokenStore(tmp_path / "x")
    assert store[0].tolist() == [4, 5]
    with pytest.raises(DataError, match=r"x\.tokens: entry 1 holds the id 999"):
        store.gather(np.array([2, 1]))
    with pytest.raises(DataError, match=r"x\.tokens: the checksum differs"):
        store.verify()


def test_offsets_with_a_valid_checksum_cannot_lead_out_of_the_file(tmp_path: Path) -> None:
    written(tmp_path / "x", [[4, 5], [6, 7]])
    offsets = np.array([0, 2**40, 4], dtype="<i8").tobytes()
    crc_of_tokens = zlib.crc32((tmp_path / "x.tokens").read_bytes())
    header = token_store.HEADER.pack(
        token_store.MAGIC, 1, 2, 2, 4, 300, crc_of_tokens, zlib.crc32(offsets)
    )
    checked = header + struct.pack("<II", zlib.crc32(header), 0)
    (tmp_path / "x.index").write_bytes(checked + offsets)
    store = TokenStore(tmp_path / "x")
    for entry in (0, 1):
        with pytest.raises(DataError, match=f"entry {entry} reaches"):
            store.gather(np.array([entry]))
