"""What commands on a trained model share: load it, take the options of search, write JSON."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from seqtrain.config_schema import parse_section
from seqtrain.errors import ConfigError, MachineError
from seqtrain.pipeline import Pipeline, load
from seqtrain.training.answers.split_outputs import examples_at_once
from seqtrain.training.pass_progress import PassProgress
from seqtrain_cli.schemas import InferenceConfig

C = TypeVar("C", bound=InferenceConfig)


def read_settings(schema: type[C], container: Mapping[str, Any]) -> C:
    """Returns the checked settings of a command."""
    return parse_section(schema(), container, "")


def open_model(settings: InferenceConfig, progress: PassProgress | None = None) -> Pipeline:
    """Returns the model, or the ensemble, that the settings name.

    Options of search that are not given are those of the run.

    Args:
        settings: Of the command.
        progress: Shows how far passes over examples are; None for nothing.
    """
    pipeline = load(
        checkpoint_paths(settings.checkpoint),
        settings.device,
        settings.data,
        settings.language_model,
    )
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
    return replace(
        pipeline,
        config=config,
        at_once=examples_at_once(dataset),
        progress=progress or PassProgress(),
    )


def checkpoint_paths(value: object) -> list[str]:
    """Returns the paths that `checkpoint=` names: one, or a list of them.

    Raises:
        ConfigError: It is not set, or holds something else.
    """
    paths = value if isinstance(value, list) else [value]
    if not all(isinstance(path, str | int | float) for path in paths):
        raise ConfigError(
            f"checkpoint must be a path, or several as checkpoint=[A,B], got {value!r}."
        )
    named = [str(path) for path in paths if path != ""]
    if not named:
        raise ConfigError("checkpoint is not set: name a run folder or a checkpoint in it.")
    return named


@contextmanager
def line_writer(output: str) -> Iterator[Callable[[str], None]]:
    """Gives a function that writes one line, to a file or to standard output.

    What is in the file stays until there is a first line, or nothing to write at all: a mistake
    that is found later costs no outputs of before.

    Raises:
        MachineError: The file cannot be written.
    """
    if not output:
        yield lambda line: print(line, flush=True)
        return
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        with Path(output).open("a", encoding="utf-8") as file:
            is_old = Path(output).is_file()  # a pipe or a device holds nothing

            def write(line: str) -> None:
                nonlocal is_old
                if is_old:
                    file.truncate(0)
                    is_old = False
                print(line, file=file)

            yield write
            if is_old:
                file.truncate(0)
    except OSError as error:
        if error.filename != output and error.filename != str(Path(output).parent):
            raise
        raise MachineError(f"output={output} cannot be written: {error.strerror}.") from error
