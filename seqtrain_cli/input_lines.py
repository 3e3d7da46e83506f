"""Lines of input, and an answer or an error for each: one bad line harms no other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from seqtrain.errors import DataError
from seqtrain.pipeline import Pipeline
from seqtrain.training.answers.line_answers import MAX_LINE_BYTES, Answer


@dataclass(frozen=True)
class InputLine:
    """One line; where it is not readable, the text as far as it is and the reason."""

    text: str
    error: str = ""


def input_lines(source: str) -> Iterator[InputLine]:
    """Yields the lines of a file, or of standard input for "-", without their ends.

    Raises:
        DataError: There is no such file.
    """
    # A descriptor of its own, since the interpreter's stdin may be in text mode.
    name = 0 if source == "-" else source
    try:
        with open(name, "rb", closefd=source != "-") as file:  # 0
            while data := file.readline(MAX_LINE_BYTES + 1):
                size = len(data)
                while size > MAX_LINE_BYTES and not data.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES)
                    if not rest or rest.endswith(b"\n"):
                        break
                yield _line(data)
    except OSError as error:
        if error.filename != source:
            raise
        raise DataError(
            f"input={source} cannot be read: {error.strerror}. Name a file, or - for standard "
            "input."
        ) from error


def answers(
    lines: Iterable[InputLine], pipeline: Pipeline, lines_at_once: int = 0, first_number: int = 0
) -> Iterator[tuple[InputLine, Answer]]:
    """Yields each line with an answer, in order.

    Args:
        lines: Those that are not readable get their error as answer.
        pipeline: The model.
        lines_at_once: See `Pipeline.answers`.
        first_number: Of the first line.
    """
    source, size = iter(lines), lines_at_once or pipeline.at_once
    while window := list(islice(source, size)):
        # A place is kept for what is not readable, so that numbers stay.
        texts = ["" if line.error else line.text for line in window]
        found = pipeline.answers(texts, lines_at_once=size, first_number=first_number)
        for line, answer in zip(window, found, strict=True):
            yield line, Answer([], line.error) if line.error else answer
        first_number += len(window)


def _line(data: bytes) -> InputLine:
    if len(data) > MAX_LINE_BYTES:
        start = data[:40].decode("utf-8", "replace")
        return InputLine(start, f"the line is longer than {MAX_LINE_BYTES} bytes")
    data = data.rstrip(b"\r\n")
    try:
        return InputLine(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        reason = f"the line is not UTF-8 (byte {error.start + 1}: 0x{data[error.start]:02x})"
        return InputLine(data.decode("utf-8", "replace"), reason)
