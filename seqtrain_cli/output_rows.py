"""The lines that seqtrain-generate writes."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from seqtrain.errors import ConfigError
from seqtrain.generation.base import Hypothesis
from seqtrain.pipeline import WHOLE, Pipeline, Shard
from seqtrain.tasks.base import Task
from seqtrain_cli.fairseq_lines import FairseqLines
from seqtrain_cli.inference import read_json_lines
from seqtrain_cli.input_lines import Answer, answers, input_lines
from seqtrain_cli.schemas import GenerateConfig

FORMATS = ("jsonl", "fairseq")


def output_lines(settings: GenerateConfig, pipeline: Pipeline) -> Iterator[str]:
    """Yields what the model says of a split, or of the lines of an input.

    Raises:
        ConfigError: Settings do not fit together, or not the task.
    """
    if settings.format not in FORMATS:
        raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {settings.format!r}.")
    shard = read_shard(settings.shard)
    if settings.input and (shard != WHOLE or settings.score_reference):
        raise ConfigError("shard and score_reference are for a split: leave out input.")
    if pipeline.task.predicts:
        if settings.format != "jsonl" or shard != WHOLE or settings.score_reference:
            raise ConfigError(
                f"task={pipeline.config.task.name} predicts: format=fairseq, shard and "
                "score_reference are for tasks that generate text."
            )
        yield from (to_json(row) for row in _predictions(settings, pipeline))
    elif settings.input:
        yield from _of_lines(settings, pipeline)
    else:
        yield from _of_split(settings, pipeline, shard)


def read_shard(text: str) -> Shard:
    """Returns the part that i/n means, i from 1.

    Raises:
        ConfigError: It is not of that form.
    """
    if not text:
        return WHOLE
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"shard must be i/n with i from 1 to n, as in 2/4; got {text!r}.")
    return Shard(int(match[1]) - 1, int(match[2]))


def to_json(row: dict[str, Any]) -> str:
    """Returns a row as one line; bytes that are no UTF-8 stay readable."""
    return json.dumps(row, ensure_ascii=False)


def json_row(number: int, answer: Answer, pipeline: Pipeline) -> dict[str, Any]:
    """Returns what is said to one line of input."""
    row: dict[str, Any] = {"id": number, "source": answer.line.text}
    if answer.error:
        return row | {"error": answer.error}
    return row | {"hypotheses": _texts(answer.hypotheses, pipeline)}


def fairseq_lines(number: int, answer: Answer, task: Task) -> Iterator[str]:
    """Yields the lines of fairseq's form for one line of input; none for an error."""
    if not answer.error:
        writer = FairseqLines(task, task.inference_dataset([answer.line.text]))
        yield from writer.of_example(0, answer.hypotheses, number)


def report_error(number: int, answer: Answer) -> None:
    """Says on standard error why a line of input, counted from 0, has no output."""
    if answer.error:
        print(f"line {number + 1} has no output: {answer.error}", file=sys.stderr)


def _of_split(settings: GenerateConfig, pipeline: Pipeline, shard: Shard) -> Iterator[str]:
    task, generation = pipeline.task_with_data(), pipeline.config.generation
    find = pipeline.hypotheses_of_split
    if settings.score_reference:
        find = pipeline.references_of_split
    found = find(task, settings.split, generation, shard)
    if settings.format == "jsonl":
        for index, nbest in found:
            yield to_json({"id": index, "hypotheses": _texts(nbest, pipeline)})
        return
    writer = FairseqLines(task, task.dataset(settings.split))
    for index, nbest in found:
        yield from writer.of_example(index, nbest)


def _of_lines(settings: GenerateConfig, pipeline: Pipeline) -> Iterator[str]:
    for number, answer in enumerate(answers(input_lines(settings.input), pipeline)):
        report_error(number, answer)
        if settings.format == "jsonl":
            yield to_json(json_row(number, answer, pipeline))
        else:
            yield from fairseq_lines(number, answer, pipeline.task)


def _texts(hypotheses: list[Hypothesis], pipeline: Pipeline) -> list[dict[str, Any]]:
    return [asdict(pipeline.text_of(hypothesis)) for hypothesis in hypotheses]


def _predictions(settings: GenerateConfig, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    if not settings.input:
        for index, row in pipeline.predict_split(settings.split):
            yield {"id": index} | row
        return
    for index, row in enumerate(pipeline.predict(read_json_lines(settings.input))):
        yield {"id": index} | row
