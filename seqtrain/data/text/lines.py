"""Text files, read strictly: what is a line is decided by the newline byte alone."""

from collections.abc import Iterator

from seqtrain.data.text.byte_streams import Location, open_stream
from seqtrain.errors import DataError

BLOCK_BYTES = 1 << 19
MAX_LINE_BYTES = 1_000_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_lines(path: Location, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[str]:
    r"""Yields the lines of a UTF-8 file without their ends.

    Lines end at `\n` or `\r\n` and nowhere else, so that line n of two parallel files stays
    line n. A byte order mark at the beginning is left out. Memory is bounded by the longest line
    allowed.

    Args:
        path: The file; one that ends with .gz, .xz or .zst is decompressed.
        max_line_bytes: Longer lines are refused.

    Raises:
        DataError: The file cannot be read, is empty, is not UTF-8, or holds a NUL, a carriage
            return inside a line or a line that is too long. The message names line and byte.
    """
    number = 1
    for block in _whole_lines(path, max_line_bytes):
        lines = _decode(path, number, block, max_line_bytes)
        yield from lines
        number += len(lines)


def count_lines(path: Location) -> int:
    """Returns the number of lines that `read_lines` would yield, without decoding them."""
    count, last = 0, b"\n"
    for block in _blocks(path):
        count += block.count(b"\n")
        last = block[-1:]
    return count + (last != b"\n")


def _blocks(path: Location) -> Iterator[bytes]:
    """Yields the bytes of a file that is not empty, without the byte order mark."""
    with open_stream(path) as file:
        block = file.read(BLOCK_BYTES)
        if block.startswith(BYTE_ORDER_MARK):
            block = block.removeprefix(BYTE_ORDER_MARK) or file.read(BLOCK_BYTES)
        if not block:
            raise DataError(f"{path}: the file is empty. Give a file with at least one line.")
        while block:
            yield block
            block = file.read(BLOCK_BYTES)


def _whole_lines(path: Location, max_line_bytes: int) -> Iterator[bytes]:
    """Yields blocks that end with a newline, but for the end of the file."""
    number, rest = 1, b""
    for block in _blocks(path):
        end = block.rfind(b"\n") + 1
        if end:
            whole = rest + block[:end]
            yield whole
            number += whole.count(b"\n")
            rest = block[end:]
        else:
            rest += block
            if len(rest) > max_line_bytes:
                raise _too_long(path, number, max_line_bytes)
    if rest:
        yield rest


def _decode(path: Location, number: int, block: bytes, max_line_bytes: int) -> list[str]:
    """Returns the lines of a block whose first has this number."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    for byte, what in ((b"\0", "a NUL"), (b"\r", "a carriage return inside a line")):
        if byte in block:
            raise _fault(path, number, block, block.index(byte), f"{what}: remove it")
    if len(block) > max_line_bytes:
        for offset, line in enumerate(block.split(b"\n")):
            if len(line) > max_line_bytes:
                raise _too_long(path, number + offset, max_line_bytes)
    try:
        lines = block.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        what = f"0x{block[error.start]:02x} is not UTF-8 ({error.reason}): convert the file"
        raise _fault(path, number, block, error.start, what) from None
    if not lines[-1]:
        lines.pop()
    return lines


def _fault(path: Location, number: int, block: bytes, place: int, what: str) -> DataError:
    line = number + block.count(b"\n", 0, place)
    byte = place - block.rfind(b"\n", 0, place)
    return DataError(f"{path}:{line}: byte {byte}: {what}.")


def _too_long(path: Location, line: int, max_line_bytes: int) -> DataError:
    return DataError(
        f"{path}:{line}: byte {max_line_bytes + 1}: the line is longer than {max_line_bytes} "
        "bytes: split it."
    )
