"""What is said of a file that cannot be opened."""

from pathlib import Path

import pytest

from seqtrain.data.text.byte_streams import open_raw
from seqtrain.errors import DataError


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("train.en", "Give the path of a file that can be read."),
        ("train.en.en", "The ending .en is added to what was given: leave it out."),
    ],
)
def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path, name: str, advice: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError) as caught, open_raw(path):
        pass
    assert str(caught.value) == f"{path}: No such file or directory. {advice}"
