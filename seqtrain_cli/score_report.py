"""What seqtrain-score says of files of texts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqtrain.data.text.lines import read_lines
from seqtrain.errors import ConfigError, DataError
from seqtrain.plugins import load_plugins
from seqtrain.scorers.base import SCORERS, Scorer, build_scorers
from seqtrain.scorers.bootstrap import paired_bootstrap
from seqtrain_cli.schemas import ScoreConfig


def score_report(settings: ScoreConfig) -> dict[str, Any]:
    """Returns the scores of one file, or of two and what the bootstrap says of their difference.

    Raises:
        ConfigError: A setting is missing.
        DataError: A file is missing, or the files do not fit together.
    """
    load_plugins(settings.plugins)
    for key in ("hypotheses", "references"):
        if not getattr(settings, key):
            raise ConfigError(f"{key} is not set. See seqtrain-score --help.")
    references = [list(texts) for texts in _columns(settings.references)]
    hypotheses = read_texts(settings.hypotheses)
    every = [name for name in SCORERS.names() if SCORERS.get(name).cls.reads_texts]
    scorers = build_scorers(settings.scorers or every)
    report = _scores(scorers, hypotheses, references)
    if not settings.other:
        return report
    other = read_texts(settings.other)
    differences: dict[str, dict[str, float]] = {}
    for scorer in scorers:
        found = paired_bootstrap(
            scorer, hypotheses, other, references, settings.resamples, settings.seed
        )
        differences |= {name: result.to_container() for name, result in found.items()}
    named = {settings.hypotheses: report["scores"]}
    named[settings.other] = _scores(scorers, other, references)["scores"]
    return report | {"scores": named, "paired_bootstrap": differences}


def read_texts(path: str) -> list[str]:
    """Returns a text for each line; of JSON lines of seqtrain-generate the best hypothesis."""
    lines = _read(path)
    if not path.endswith(".jsonl"):
        return lines
    texts: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            text = row["hypotheses"][0]["text"] if "hypotheses" in row else row["text"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: not a line of seqtrain-generate with a hypothesis, nor an "
                'object with "text".'
            ) from error
        texts.append(str(text))
    return texts


def _scores(
    scorers: Sequence[Scorer], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, Any]:
    scores: dict[str, dict[str, float]] = {}
    for scorer in scorers:
        scores[scorer.config.name] = scorer.score(hypotheses, references)
    signatures = {scorer.config.name: scorer.signature() for scorer in scorers}
    return {
        "examples": len(hypotheses),
        "scores": scores,
        "signatures": {name: text for name, text in signatures.items() if text},
    }


def _columns(paths: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the references of each example: a line of each file."""
    files = [_read(path) for path in paths]
    for path, lines in zip(paths, files, strict=True):
        if len(lines) != len(files[0]):
            raise DataError(
                f"references={path} has {len(lines)} lines and {paths[0]} has {len(files[0])}; "
                "each needs one line for each example."
            )
    return list(zip(*files, strict=True))


def _read(path: str) -> list[str]:
    if not Path(path).is_file():
        raise DataError(f"{path} is not a file: name one with a text a line.")
    return list(read_lines(Path(path)))
