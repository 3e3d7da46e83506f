"""What commands on a trained model share: load it, take the options of search, write JSON."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from seqtrain.config_schema import parse_section
from seqtrain.errors import ConfigError, DataError, MachineError
from seqtrain.pipeline import Pipeline, load
from seqtrain_cli.schemas import InferenceConfig

C = TypeVar("C", bound=InferenceConfig)


def open_model(schema: type[C], container: Mapping[str, Any]) -> tuple[C, Pipeline]:
    """Returns the checked settings and the model that they name.

    Options of search that are not given are those of the run.
    """
    settings = parse_section(schema(), container, "")
    if not settings.checkpoint:
        raise ConfigError("checkpoint is not set: name a run folder or a checkpoint in it.")
    pipeline = load(settings.checkpoint, settings.device, settings.data)
    given = {k: v for k, v in asdict(settings.generation).items() if v is not None}
    generation = parse_section(pipeline.config.generation, given, "generation")
    dataset = pipeline.config.dataset
    if settings.max_tokens or settings.batch_size:
        dataset = replace(
            dataset,
            max_tokens=settings.max_tokens or dataset.max_tokens,
            batch_size=settings.batch_size,
        )
    config = replace(pipeline.config, generation=generation, dataset=dataset)
    return settings, replace(pipeline, config=config)


@contextmanager
def line_writer(output: str) -> Iterator[Callable[[str], None]]:
    """Gives a function that writes one line, to a file or to standard output.

    Raises:
        MachineError: The file cannot be written.
    """
    if not output:
        yield lambda line: print(line, flush=True)
        return
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        with Path(output).open("w", encoding="utf-8") as file:
            yield lambda line: print(line, file=file)
    except OSError as error:
        if error.filename != output and error.filename != str(Path(output).parent):
            raise
        raise MachineError(f"output={output} cannot be written: {error.strerror}.") from error


def read_lines(source: str) -> Iterator[str]:
    """Yields the lines of a file, or of standard input for "-", without their ends.

    Raises:
        ConfigError: There is no such file.
        DataError: It is not UTF-8.
    """
    # A descriptor of its own, since the interpreter's stdin may have another encoding.
    name = 0 if source == "-" else source
    number = 0
    try:
        with open(name, encoding="utf-8", newline="\n", closefd=source != "-") as file:  # 0
            for line in file:
                yield line.rstrip("\r\n")
                number += 1
    except UnicodeDecodeError as error:
        raise DataError(f"input={source} is not UTF-8 after line {number}: {error}.") from error
    except OSError as error:
        if error.filename != source:
            raise
        raise ConfigError(f"input={source} cannot be read: {error.strerror}.") from error


def read_json_lines(source: str) -> Iterator[Any]:
    """Yields the JSON value of each line of a file, or of standard input for "-".

    Raises:
        DataError: A line is not JSON; the message names it.
    """
    for number, line in enumerate(read_lines(source), start=1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"input={source}: line {number} is not JSON: {error}. Give one object a line."
            ) from error
