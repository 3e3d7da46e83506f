"""Lines of input that also say what their outputs must be like."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seqtrain.data.dataset import Dataset
from seqtrain.data.demanding_dataset import Demand, DemandingDataset
from seqtrain.data.vocabulary import UNKNOWN
from seqtrain.errors import DataError
from seqtrain.generation.base import GenerationConfig
from seqtrain.tasks.base import Task

TAB = "\t"


@dataclass(frozen=True)
class DemandingLine:
    """An input and what its output must be like."""

    text: str
    """The input."""
    prefix: str = ""
    """What the output begins with."""
    phrases: tuple[str, ...] = ()
    """What it contains."""


def read_demands(line: str, generation: GenerationConfig) -> DemandingLine:
    """Returns what a line says: with generation.forced_prefix or constraints, fields behind tabs.

    The first field behind the input is the beginning, where generation.forced_prefix is set; the
    others are phrases. Without these options the whole line is the input.
    """
    if not (generation.forced_prefix or generation.constraints):
        return DemandingLine(line)
    text, *fields = line.split(TAB)
    prefix = fields.pop(0) if generation.forced_prefix and fields else ""
    if fields and not generation.constraints:
        raise DataError(
            "the line has more than one field behind its input, which are phrases: set "
            "generation.constraints to ordered or unordered"
        )
    return DemandingLine(text, prefix, tuple(field for field in fields if field.strip()))


def write_demands(
    lines: Iterable[str],
    generation: GenerationConfig,
    phrases: Sequence[Sequence[str]] | None,
    prefixes: Sequence[str] | None,
) -> Iterator[str]:
    """Yields lines that `read_demands` reads.

    Args:
        lines: Inputs; a tab in one becomes a space.
        generation: Says which fields there are.
        phrases: What each output contains; None for nothing.
        prefixes: What each output begins with; None for nothing.
    """
    sources = list(lines)
    for name, given in (("constraints", phrases), ("prefixes", prefixes)):
        if given is not None and len(given) != len(sources):
            raise ValueError(f"{name} are {len(given)} for {len(sources)} lines; give one each.")
    for row, source in enumerate(sources):
        fields = [source]
        if generation.forced_prefix:
            fields.append("" if prefixes is None else prefixes[row])
        if generation.constraints and phrases is not None:
            if isinstance(phrases[row], str):
                raise TypeError("constraints are a list of phrases for each line, got a text.")
            fields.extend(phrases[row])
        yield TAB.join(field.replace(TAB, " ") for field in fields)


def inference_dataset(task: Task, lines: Sequence[str], generation: GenerationConfig) -> Dataset:
    """Returns lines as a dataset without targets, with what is demanded of the outputs.

    Raises:
        DataError: The model has no symbols for what is demanded.
    """
    if not (generation.forced_prefix or generation.constraints):
        return task.inference_dataset(lines)
    read = [read_demands(line, generation) for line in lines]
    demands = [
        Demand(_encode(task, line.prefix), [_encode(task, phrase) for phrase in line.phrases])
        for line in read
    ]
    return DemandingDataset(task.inference_dataset([line.text for line in read]), demands)


def _encode(task: Task, text: str) -> list[int]:
    symbols = [int(symbol) for symbol in task.encode_output(text)] if text.strip() else []
    if UNKNOWN in symbols:
        raise DataError(f"the model cannot write {text!r}: its vocabulary lacks symbols of it")
    return symbols
