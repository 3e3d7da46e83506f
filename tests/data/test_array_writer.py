import zlib
from pathlib import Path

import numpy as np
import pytest

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.array_writer import ArrayWriter
from seqtrain.errors import MachineError


def test_the_checksum_is_that_of_the_arrays_without_the_header(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    writer = ArrayWriter(path, header_bytes=8)
    writer.write(np.arange(5, dtype="<i4"))
    writer.write(np.arange(12, dtype="<i4").reshape(3, 4)[:, ::2])
    writer.write_header(b"HEADER 1")
    writer.close()
    content = path.read_bytes()
    assert content[:8] == b"HEADER 1"
    assert writer.crc32 == zlib.crc32(content[8:])
    array = ArrayFile(path, np.dtype("<i4"), begin=8)
    assert array.crc32() == writer.crc32
    assert array.at(np.arange(len(array))).tolist() == [0, 1, 2, 3, 4, 0, 2, 4, 6, 8, 10]
    assert ArrayFile.in_memory(array.at(np.arange(len(array)))).crc32() == writer.crc32


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_by_the_name_that_the_file_will_have(tmp_path: Path) -> None:
    writer = ArrayWriter(Path("/dev/full"), tmp_path / "train.tokens")
    with pytest.raises(MachineError, match=r"train\.tokens: cannot be written: .*No space left"):
        writer.write(np.zeros(1 << 20, dtype="<i4"))
    writer.abandon()
    with pytest.raises(MachineError, match="cannot be written"):
        ArrayWriter(tmp_path / "missing" / "numbers")
