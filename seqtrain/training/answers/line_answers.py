"""An answer or an error for each line of input: one bad line harms no other."""

from collections.abc import Sequence
from dataclasses import dataclass

from seqtrain.data.dataset_part import DatasetPart
from seqtrain.errors import DataError, NumericError
from seqtrain.generation.base import Hypothesis
from seqtrain.models.base import EncoderDecoderModel
from seqtrain.tasks.line_demands import inference_dataset
from seqtrain.training.answers.limited_dataset import with_limits
from seqtrain.training.evaluator import Evaluator

MAX_LINE_BYTES = 1 << 20
"""Longer lines are refused: one of them could take all memory."""


NOTHING = Hypothesis(tokens=[], score=0.0, token_scores=[])
"""Said to a blank line; nothing was searched, so nothing has a probability."""


@dataclass(frozen=True)
class Answer:
    """What the model says to one line: hypotheses, best first, or the reason why there are none."""

    hypotheses: list[Hypothesis]
    error: str = ""


def answer_lines(evaluator: Evaluator, lines: Sequence[str], first_number: int) -> list[Answer]:
    """Returns an answer to each line.

    To a blank line, which says nothing, the answer of a model that reads a source is empty too; a
    language model begins a text.

    Args:
        evaluator: Its task reads the lines.
        lines: They are searched together.
        first_number: Of the first line: what is drawn for a line depends on its number alone.
    """
    answers = [Answer([], _unusable(line)) for line in lines]
    if isinstance(evaluator.model, EncoderDecoderModel):
        for index in (index for index, line in enumerate(lines) if not line.strip()):
            answers[index] = Answer([NOTHING])
    good = [i for i, answer in enumerate(answers) if not (answer.error or answer.hypotheses)]
    for index, answer in _answers(evaluator, lines, first_number, good).items():
        answers[index] = answer
    return answers


def _unusable(line: str) -> str:
    """Returns why a line cannot be read at all, or nothing."""
    if len(line) > MAX_LINE_BYTES or len(line.encode("utf-8", "replace")) > MAX_LINE_BYTES:
        return f"the line is longer than {MAX_LINE_BYTES} bytes"
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the line is not text (character {error.start + 1}: {line[error.start]!r})"
    return ""


def _answers(
    evaluator: Evaluator, lines: Sequence[str], first_number: int, chosen: Sequence[int]
) -> dict[int, Answer]:
    """Returns answers to the chosen lines, by index."""
    if not chosen:
        return {}
    numbers = [first_number + index for index in chosen]
    try:
        texts = [lines[index] for index in chosen]
        read = inference_dataset(evaluator.task, texts, evaluator.generation)
        dataset = DatasetPart(with_limits(read, evaluator.generation), range(len(chosen)), numbers)
        found = dict(evaluator.hypotheses(dataset))
        return {index: Answer(found[first_number + index]) for index in chosen}
    except (DataError, NumericError) as error:
        if len(chosen) == 1:
            return {chosen[0]: Answer([], str(error))}
    # A line too long is the usual reason: the longest are set apart, then what is left halved.
    order = sorted(chosen, key=lambda index: len(lines[index]))
    cut = len(order) - 1 if len(order) < 8 else len(order) - len(order) // 8
    halves = (order[:cut], order[cut:])
    return {
        index: answer
        for half in halves
        for index, answer in _answers(evaluator, lines, first_number, half).items()
    }
