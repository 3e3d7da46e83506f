import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data import array_file
from seqtrain.data.array_file import ArrayFile, runs
from seqtrain.errors import DataError


@pytest.mark.parametrize("mapped_bytes", [0, 1 << 20])
def test_large_and_small_files_and_memory_give_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped_bytes: int
) -> None:
    monkeypatch.setattr(array_file, "MAPPED_BYTES", mapped_bytes)
    monkeypatch.setattr(array_file, "BLOCK_BYTES", 24)
    numbers = np.arange(100, 120, dtype="<i4")
    (tmp_path / "x").write_bytes(b"abc" + numbers.tobytes() + b"rest")
    file = ArrayFile(tmp_path / "x", numbers.dtype, 3, 20)
    assert file.is_small == bool(mapped_bytes)
    for array in (file, ArrayFile.in_memory(numbers), pickle.loads(pickle.dumps(file))):
        assert (len(array), array.num_bytes, array.dtype) == (20, 80, numbers.dtype)
        places = np.array([7, 3, 4, 5, 19, 0, 0])
        np.testing.assert_array_equal(array.at(places), numbers[places])
        begins, lengths = np.array([5, 0, 18]), np.array([3, 0, 2])
        np.testing.assert_array_equal(array.at_ranges(begins, lengths), numbers[[5, 6, 7, 18, 19]])
        blocks = list(array.blocks())
        assert max(map(len, blocks)) == 6
        np.testing.assert_array_equal(np.concatenate(blocks), numbers)


def test_an_array_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(10))
    with pytest.raises(DataError, match=r"x: 10 bytes are not whole numbers of 4 bytes"):
        ArrayFile(tmp_path / "x", np.dtype("<i4"))
    with pytest.raises(DataError, match=r"x: ends after 10 bytes"):
        ArrayFile(tmp_path / "x", np.dtype("<i4"), 0, 3)
    with pytest.raises(DataError, match=r"y: No such file"):
        ArrayFile(tmp_path / "y", np.dtype("<i4"))
    assert len(ArrayFile(tmp_path / "x", np.dtype("<i4"), 10)) == 0


def test_a_file_that_is_cut_while_it_is_used_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_file, "MAPPED_BYTES", 0)
    (tmp_path / "x").write_bytes(bytes(16))
    array = ArrayFile(tmp_path / "x", np.dtype("<i4"))
    (tmp_path / "x").write_bytes(bytes(8))
    with pytest.raises(DataError, match="became shorter"):
        array.at(np.array([3]))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12))
def test_runs_spell_the_indices_that_they_were_made_of(indices: list[int]) -> None:
    begins, lengths = runs(np.array(indices, dtype=np.int64))
    spelled = [b + i for b, n in zip(begins, lengths, strict=True) for i in range(n)]
    assert spelled == indices
