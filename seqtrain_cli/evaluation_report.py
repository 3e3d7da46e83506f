"""What seqtrain-evaluate prints."""

from typing import Any

from seqtrain.distributed.collectives import Collectives
from seqtrain.finite_json import finite_json
from seqtrain.pipeline import Pipeline
from seqtrain_cli.schemas import EvaluateConfig


def evaluation_report(
    settings: EvaluateConfig, pipeline: Pipeline, collectives: Collectives
) -> str:
    """Returns loss and scores as JSON; every process calls it."""
    generation, scorers = pipeline.config.generation, settings.scorers or None
    found = pipeline.evaluate(settings.split, generation, settings.generate, scorers, collectives)
    paths = [str(pipeline.path), *(str(other.path) for other in pipeline.others)]
    report: dict[str, Any] = {"checkpoint": paths if pipeline.others else paths[0]}
    report["split"] = settings.split
    report |= {f"{settings.split}_{name}": value for name, value in found.values.items()}
    if found.signatures:
        report["signatures"] = found.signatures
    text = finite_json(report, indent=2)
    if found.tables:  # on one line, however large
        text = f'{text[:-2]},\n  "tables": {finite_json(found.tables)}\n}}'
    return text
