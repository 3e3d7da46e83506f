import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.data.text import lines as text_files
from seqtrain.data.text.lines import count_lines, read_lines
from seqtrain.errors import DataError

LINE = st.text(
    alphabet=st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=20
)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@given(
    lines=st.lists(LINE, min_size=1), ending=st.sampled_from(["\n", "\r\n"]), final=st.booleans()
)
def test_lines_end_at_newline_bytes_and_nowhere_else(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], ending: str, final: bool
) -> None:
    lines = [lines[0].lstrip("\ufeff") + "x", *lines[1:], "end"]
    path = tmp_path_factory.mktemp("lines") / "text"
    write(path, (ending.join(lines) + ending * final).encode())
    assert list(read_lines(path)) == lines
    assert count_lines(path) == len(lines)


def test_unicode_line_separators_stay_inside_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "a\u2028b\x85c\x0cd\x1ce\n".encode())
    assert list(read_lines(path)) == ["a\u2028b\x85c\x0cd\x1ce"]


def test_empty_lines_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t", b"\n\na\n\n")
    assert list(read_lines(path)) == ["", "", "a", ""]
    assert count_lines(path) == 4


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "t", b"\xef\xbb\xbfa\nb\n")
    assert list(read_lines(path)) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"ab\ncd\xffe\n", ":2: byte 3: ", "0xff is not UTF-8"),
        (b"ab\ncd\xc3", ":2: byte 3: ", "0xc3 is not UTF-8"),
        (b"a\r\nb\rc\r\n", ":2: byte 2: ", "carriage return inside a line"),
        (b"a\nb\r", ":2: byte 2: ", "carriage return inside a line"),
        (b"a\r\r\n", ":1: byte 2: ", "carriage return inside a line"),
        (b"a\nb\n\0c\n", ":3: byte 1: ", "a NUL"),
        (b"a\n" + b"b" * 21 + b"\n", ":2: byte 21: ", "longer than 20 bytes"),
        (b"", ": ", "the file is empty"),
        (b"\xef\xbb\xbf", ": ", "the file is empty"),
    ],
)
def test_faults_are_refused_with_file_line_and_byte(
    tmp_path: Path, content: bytes, where: str, what: str
) -> None:
    path = write(tmp_path / "text.en", content)
    with pytest.raises(DataError) as caught:
        list(read_lines(path, max_line_bytes=20))
    message = str(caught.value)
    assert message.startswith(f"{path}{where}")
    assert what in message
    assert "\n" not in message


def test_positions_are_right_behind_the_first_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 7)
    path = write(tmp_path / "t", b"abcd\r\n" * 50 + b"ab\xff\n")
    with pytest.raises(DataError, match=":51: byte 3: "):
        list(read_lines(path))


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            list(read_lines(path))


def test_a_line_of_50_megabytes_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with path.open("wb") as file:
        file.write(b"short\n")
        file.seek(50_000_000)
        file.write(b"x")
    program = f"""
import resource
from pathlib import Path
from seqtrain.data.text.lines import read_lines
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(read_lines(Path({str(path)!r})))
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    message, kilobytes = run.stdout.splitlines()
    assert f"{path}:2: byte 1000001: the line is longer than 1000000 bytes" in message
    assert int(kilobytes) < 20_000 * (1 if sys.platform == "linux" else 1024)
