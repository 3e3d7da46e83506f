"""The lines that seqtrain-generate writes, as plain values."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from seqtrain.pipeline import Pipeline
from seqtrain_cli.inference import read_json_lines, read_lines
from seqtrain_cli.schemas import GenerateConfig


def output_rows(settings: GenerateConfig, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    """Yields what the model says of a split, or of the lines of an input."""
    if pipeline.task.predicts:
        yield from _predictions(settings, pipeline)
    elif settings.input:
        yield from _of_lines(settings.input, pipeline)
    else:
        for index, nbest in pipeline.generate_split(settings.split, pipeline.config.generation):
            yield {"id": index, "hypotheses": [asdict(text) for text in nbest]}


def _predictions(settings: GenerateConfig, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    if not settings.input:
        for index, row in pipeline.predict_split(settings.split):
            yield {"id": index} | row
        return
    for index, row in enumerate(pipeline.predict(read_json_lines(settings.input))):
        yield {"id": index} | row


def _of_lines(source: str, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    read: list[str] = []  # lines that the pipeline took and has not answered yet

    def remembered() -> Iterator[str]:
        for line in read_lines(source):
            read.append(line)
            yield line

    for index, nbest in enumerate(
        pipeline.generate_lines(remembered(), pipeline.config.generation)
    ):
        hypotheses = [asdict(text) for text in nbest]
        yield {"id": index, "source": read.pop(0), "hypotheses": hypotheses}
