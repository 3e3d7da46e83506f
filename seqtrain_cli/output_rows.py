"""The lines that seqtrain-generate writes."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError, DataError
from seqtrain.generation.base import Hypothesis
from seqtrain.pipeline import Pipeline
from seqtrain.tasks.base import Task
from seqtrain.tasks.line_demands import read_demands
from seqtrain.training.answers.line_answers import Answer
from seqtrain.training.answers.split_outputs import WHOLE, Shard, parts_of
from seqtrain_cli.fairseq_lines import FairseqLines
from seqtrain_cli.input_lines import InputLine, answers, input_lines
from seqtrain_cli.schemas import GenerateConfig
from seqtrain_cli.shared_work import in_order
from seqtrain_cli.shown_examples import ShownExamples
from seqtrain_cli.text_lines import prediction_lines, require_texts, text_lines

FORMATS = ("jsonl", "text", "fairseq")
Rows = list[list[str]]
"""Lines for standard output, and lines for standard error."""


def output_lines(
    settings: GenerateConfig, pipeline: Pipeline, collectives: Collectives | None = None
) -> Iterator[str]:
    """Yields what the model says of a split, or of the lines of an input.

    Args:
        settings: Of the command.
        pipeline: The model.
        collectives: Of the processes that share the work; the lines come on the first rank.

    Raises:
        ConfigError: Settings do not fit together, or not the task.
    """
    if settings.format not in FORMATS:
        raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {settings.format!r}.")
    shard = read_shard(settings.shard)
    if settings.input and (shard != WHOLE or settings.score_reference):
        raise ConfigError("shard and score_reference are for a split: leave out input.")
    if pipeline.task.predicts and (settings.format == "fairseq" or settings.score_reference):
        raise ConfigError(
            f"task={pipeline.config.task.name} predicts: format=fairseq and score_reference are "
            "for tasks that generate text."
        )
    if settings.format == "text":
        require_texts(pipeline.task)
    pieces: Iterable[Any]
    if settings.input:
        pieces, work, count = *_of_lines(settings, pipeline), 0
    else:
        pieces, work, count = _of_split(settings, pipeline, shard)
    with pipeline.progress.over(f"answering {settings.input or settings.split}", count):
        for lines, faults in in_order(pieces, work, collectives or Collectives()):
            for fault in faults:
                pipeline.progress.message(fault)
            yield from lines


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


def json_row(number: int, line: InputLine, answer: Answer, pipeline: Pipeline) -> dict[str, Any]:
    """Returns what is said to one line of input."""
    row: dict[str, Any] = {"id": number, "source": line.text}
    if answer.error:
        return row | {"error": answer.error}
    read = read_demands(line.text, pipeline.config.generation)
    row["source"] = read.text
    if read.prefix:
        row["prefix"] = read.prefix
    if read.phrases:
        row["constraints"] = list(read.phrases)
    return row | {"hypotheses": _texts(answer.hypotheses, pipeline)}


def fairseq_lines(
    number: int, line: InputLine, answer: Answer, pipeline: Pipeline
) -> Iterator[str]:
    """Yields the lines of fairseq's form for one line of input; none for an error."""
    if answer.error:
        return
    read, task = read_demands(line.text, pipeline.config.generation), pipeline.task
    writer = FairseqLines(task, task.inference_dataset([read.text]))
    yield from writer.of_example(0, answer.hypotheses, number, read.phrases)


def fault(number: int, error: str) -> str:
    """Returns why a line of input, counted from 0, has no output."""
    return f"line {number + 1} has no output: {error}"


def _of_split(
    settings: GenerateConfig, pipeline: Pipeline, shard: Shard
) -> tuple[Iterator[list[int]], Callable[[list[int]], Rows], int]:
    """Returns pieces of a split, as begin and end, what makes rows of one, and how many rows."""
    task = pipeline.task_with_data()
    outputs = pipeline.outputs_of_split(task, settings.split, pipeline.config.generation)
    chosen = shard.of(len(outputs))
    parts = parts_of(chosen, pipeline.at_once)

    shown = ShownExamples(task, settings.split) if settings.format == "jsonl" else None

    def of_part(piece: list[int]) -> Rows:
        examples = range(*piece)
        if task.predicts:
            return [_prediction_rows(dict(outputs.predictions(examples)), shown, task), []]
        find = outputs.references if settings.score_reference else outputs.hypotheses
        if shown is not None:
            told = shown.of(examples)
            rows = (
                {"id": i} | told[i] | {"hypotheses": _texts(n, pipeline)} for i, n in find(examples)
            )
            return [[to_json(row) for row in rows], []]
        if settings.format == "text":
            return [[line for _, n in find(examples) for line in text_lines(n, pipeline)], []]
        writer = FairseqLines(task, task.dataset(settings.split))
        return [[line for i, n in find(examples) for line in writer.of_example(i, n)], []]

    return ([part.start, part.stop] for part in parts), of_part, len(chosen)


def _prediction_rows(
    rows: dict[int, dict[str, Any]], shown: ShownExamples | None, task: Task
) -> list[str]:
    """Returns lines for what is predicted of examples, by index."""
    if shown is None:
        return list(prediction_lines(rows.values(), task))
    told = shown.of(list(rows))
    return [to_json({"id": index} | told[index] | row) for index, row in rows.items()]


def _of_lines(
    settings: GenerateConfig, pipeline: Pipeline
) -> tuple[Iterator[list[Any]], Callable[[list[Any]], Rows]]:
    """Returns pieces of an input, as first number and lines, and what makes rows of one."""

    def pieces() -> Iterator[list[Any]]:
        source, number = input_lines(settings.input), 0
        while window := list(islice(source, pipeline.at_once)):
            yield [number, [[line.text, line.error] for line in window]]
            number += len(window)

    def of_piece(piece: list[Any]) -> Rows:
        first, lines = piece[0], [InputLine(*line) for line in piece[1]]
        if pipeline.task.predicts:
            return _predictions(first, lines, pipeline, settings.format)
        rows: Rows = [[], []]
        for number, (line, answer) in enumerate(answers(lines, pipeline, 0, first), start=first):
            if answer.error:
                rows[1].append(fault(number, answer.error))
            if settings.format == "jsonl":
                rows[0].append(to_json(json_row(number, line, answer, pipeline)))
            elif settings.format == "text":
                rows[0].extend(text_lines(answer.hypotheses, pipeline))
            else:
                rows[0].extend(fairseq_lines(number, line, answer, pipeline))
        return rows

    return pieces(), of_piece


def _predictions(first: int, lines: list[InputLine], pipeline: Pipeline, form: str) -> Rows:
    """Returns rows for lines that hold JSON; a line that cannot be used has an error."""
    given: dict[int, Any] = {}
    errors: dict[int, str] = {}
    for number, line in enumerate(lines, start=first):
        try:
            given[number] = None if line.error else json.loads(line.text)
        except (ValueError, RecursionError) as error:
            errors[number] = f"the line is not JSON ({error}); give one object a line"
        if line.error:
            errors[number] = line.error
    usable = [number for number in given if number not in errors]
    found = _predicted(usable, given, errors, pipeline)
    rows: Rows = [[], []]
    for number in range(first, first + len(lines)):
        if number in errors:
            rows[1].append(fault(number, errors[number]))
        row = {"error": errors[number]} if number in errors else found[number]
        if form == "text":
            rows[0].extend(prediction_lines([row], pipeline.task))
        else:
            rows[0].append(to_json({"id": number} | row))
    return rows


def _predicted(
    numbers: list[int], given: dict[int, Any], errors: dict[int, str], pipeline: Pipeline
) -> dict[int, dict[str, Any]]:
    """Returns what is predicted of values by number; adds reasons where that is not possible."""
    try:
        rows = list(pipeline.predict(given[number] for number in numbers))
        return dict(zip(numbers, rows, strict=True))
    except DataError as error:
        if len(numbers) == 1:
            errors[numbers[0]] = str(error.__cause__ or error)
            return {}
    middle = len(numbers) // 2
    halves = (numbers[:middle], numbers[middle:])
    return {k: v for half in halves for k, v in _predicted(half, given, errors, pipeline).items()}


def _texts(hypotheses: list[Hypothesis], pipeline: Pipeline) -> list[dict[str, Any]]:
    rows = (asdict(pipeline.text_of(hypothesis)) for hypothesis in hypotheses)
    # What was not asked for is left out.
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
