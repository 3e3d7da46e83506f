"""Outputs as plain text: one a line, and nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from seqtrain.errors import ConfigError
from seqtrain.generation.base import Hypothesis
from seqtrain.pipeline import Pipeline
from seqtrain.tasks.base import Task


def require_texts(task: Task) -> None:
    """Refuses format=text for a task whose predictions are no texts.

    Raises:
        ConfigError: It is such a task.
    """
    if task.predicts and type(task).prediction_text is Task.prediction_text:
        raise ConfigError(
            f"format=text: task={task.config.name} predicts no texts. Use format=jsonl."
        )


def text_lines(hypotheses: Sequence[Hypothesis], pipeline: Pipeline) -> list[str]:
    """Returns a line for each hypothesis; a single empty one where there is none.

    Lines of outputs thus stand where the lines of the input do.
    """
    return [one_line(pipeline.task.decode(each)) for each in hypotheses] or [""]


def prediction_lines(rows: Iterable[dict[str, Any]], task: Task) -> Iterator[str]:
    """Yields a line for each prediction, an empty one for an error."""
    for row in rows:
        yield "" if "error" in row else one_line(task.prediction_text(row))


def one_line(text: str) -> str:
    """Returns a text with its line ends as spaces."""
    return text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
