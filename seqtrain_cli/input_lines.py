"""Lines of input, and an answer or an error for each: one bad line harms no other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from seqtrain.errors import ConfigError, DataError, NumericError
from seqtrain.generation.base import Hypothesis
from seqtrain.pipeline import Pipeline

MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class InputLine:
    """One line; where it is not readable, the text as far as it is and the reason."""

    text: str
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What the model says to one line: hypotheses, or the reason why there are none."""

    line: InputLine
    hypotheses: list[Hypothesis]
    error: str = ""


def input_lines(source: str) -> Iterator[InputLine]:
    """Yields the lines of a file, or of standard input for "-", without their ends.

    Raises:
        ConfigError: There is no such file.
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
        raise ConfigError(f"input={source} cannot be read: {error.strerror}.") from error


def answers(
    lines: Iterable[InputLine], pipeline: Pipeline, lines_at_once: int = 1024
) -> Iterator[Answer]:
    """Yields an answer to each line, in order; reads up to `lines_at_once` of them at a time."""
    source = iter(lines)
    while window := list(islice(source, lines_at_once)):
        good = [line.text for line in window if not line.error]
        found = iter(_answers(good, pipeline))
        for line in window:
            outcome = line.error or next(found)
            if isinstance(outcome, str):
                yield Answer(line, [], outcome)
            else:
                yield Answer(line, outcome)


def _answers(texts: Sequence[str], pipeline: Pipeline) -> list[list[Hypothesis] | str]:
    """Returns hypotheses or a reason for each text."""
    if not texts:
        return []
    try:
        return list(pipeline.hypotheses_of_lines(texts, pipeline.config.generation))
    except (DataError, NumericError) as error:
        if len(texts) == 1:
            return [str(error)]
    # A line too long is the usual reason: the longest are set apart, then what is left halved.
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    cut = len(order) - 1 if len(order) < 8 else len(order) - len(order) // 8
    found: dict[int, list[Hypothesis] | str] = {}
    for group in (order[:cut], order[cut:]):
        found |= zip(group, _answers([texts[index] for index in group], pipeline), strict=True)
    return [found[index] for index in range(len(texts))]


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
