"""What the model says to a few validation examples, so that people can watch it learn."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError, SeqtrainError
from seqtrain.generation.base import Hypothesis
from seqtrain.models.base import DecoderModel, EncoderDecoderModel, ModelOutput
from seqtrain.training.evaluator import Evaluator

PROMPT_SYMBOLS = 32
"""Of each example that a language model goes on from."""
OUTPUT_SYMBOLS = 100
"""Most symbols of an output."""
MOST_ITEMS, MOST_INNER_ITEMS, MOST_NAMES, MOST_CHARACTERS = 512, 32, 8, 2_000
"""Of lists, lists in lists, mappings and texts of a prediction: a log is not a data set."""
MOST_ATTENTION = 40
"""Symbols of source and output of which attention is logged."""
LAST_LAYER = -1


def validation_samples(evaluator: Evaluator, split: str, count: int) -> list[dict[str, Any]]:
    """Returns what the model says to examples spread evenly over a split.

    Each row has `split` and `id`, `source` and `reference` where the task can show them, and
    `output`, `prediction` or `error`; the first one has `attention` where the model has it.
    """
    task, dataset = evaluator.task, evaluator.task.dataset(split)
    count = min(count, len(dataset))
    if count == 0 or not (task.predicts or task.generates):
        return []
    places = ((np.arange(count) + 0.5) * len(dataset) / count).astype(np.int64)
    batch = _prompts(evaluator, dataset.batch(places, 1))
    evaluator.model.eval()
    evaluator.beat()
    try:
        with torch.no_grad():
            said = _said(evaluator, batch.to(evaluator.device))
    except SeqtrainError as error:  # what is only shown must not end a run
        said = [{"error": str(error)}] * count
    return [
        {"split": split, "id": int(place)} | compact(task.shown(batch, row)) | compact(said[row])
        for row, place in enumerate(places)
    ]


def compact(value: Any, most_items: int = MOST_ITEMS) -> Any:
    """Returns plain values with long lists, large mappings and long texts cut."""
    if isinstance(value, str):
        return value[:MOST_CHARACTERS]
    if isinstance(value, Mapping):
        return {name: compact(value[name], most_items) for name in list(value)[:MOST_NAMES]}
    if isinstance(value, list):
        return [compact(item, MOST_INNER_ITEMS) for item in value[:most_items]]
    return value


def _said(evaluator: Evaluator, batch: Batch) -> list[dict[str, Any]]:
    task = evaluator.task
    if task.predicts:
        model = task.evaluation_model(evaluator.model)
        with evaluator.precision.autocast():
            output: ModelOutput = model(**batch.inputs)
            return [{"prediction": row} for row in task.predict(output, batch)]
    limits = evaluator.generation
    settings = replace(
        limits,
        max_len_a=min(limits.max_len_a, 2.0),
        max_len_b=min(limits.max_len_b, OUTPUT_SYMBOLS),
        prefix_size=0,
        print_alignment="",
    )
    with evaluator.precision.autocast():
        found = task.build_generator([evaluator.model], settings).generate(batch)
        said = [{"output": task.decode(nbest[0])} for nbest in found]
        said[0] |= _attention(evaluator, batch, found[0][0])
    return said


def _prompts(evaluator: Evaluator, batch: Batch) -> Batch:
    """Returns the beginnings of the examples of a language model; other batches as they are."""
    if not isinstance(evaluator.model, DecoderModel):
        return batch
    inputs = {"prev_output_tokens": batch.inputs["prev_output_tokens"][:, : PROMPT_SYMBOLS + 1]}
    return replace(batch, inputs=inputs)


def _attention(evaluator: Evaluator, batch: Batch, hypothesis: Hypothesis) -> dict[str, Any]:
    """Returns the attention of the first example's output to its source, if it is known."""
    model, context = evaluator.model, evaluator.task.context
    symbols = evaluator.task.vocabularies()
    if not isinstance(model, EncoderDecoderModel) or not symbols:
        return {}
    source = batch.inputs["source_tokens"][:1]
    source = source[:, source[0].ne(context.padding_index)]
    written = [*hypothesis.tokens, context.eos_index]
    if source.size(1) > MOST_ATTENTION or len(written) > MOST_ATTENTION:
        return {}
    prefix = source.new_tensor([[context.eos_index, *hypothesis.tokens]])
    try:
        weights = model.attention(source, prefix, LAST_LAYER)[0]
    except ConfigError:  # it has none to show
        return {}
    return {
        "attention": {
            "source": [symbols["source"][index] for index in source[0].tolist()],
            "target": [symbols["target"][index] for index in written],
            "weights": _rounded(weights),
        }
    }


def _rounded(weights: Tensor) -> list[list[float]]:
    return [[round(weight, 3) for weight in row] for row in weights.double().tolist()]
