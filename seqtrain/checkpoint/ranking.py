"""Which checkpoints scored best: `best.json`, replaced atomically."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqtrain.checkpoint import strict_json
from seqtrain.checkpoint.layout import BEST, updates_of
from seqtrain.errors import CheckpointError, MachineError
from seqtrain.files import write_atomically

_MAX_ENTRIES = 100_000


@dataclass(frozen=True)
class Ranking:
    """Scores of the checkpoints that are kept, the best first; of two equal ones the older."""

    metric: str
    maximize: bool
    scores: dict[str, float] = field(default_factory=dict)
    """Score by name of the checkpoint, in the order of the ranking."""

    @property
    def best(self) -> str:
        """Name of the best one; there is one in every file."""
        return next(iter(self.scores))

    def with_score(self, name: str, value: float) -> "Ranking":
        """Returns the ranking after a checkpoint's score; it replaces the one it had."""
        scores = sorted(
            (self.scores | {name: value}).items(),
            key=lambda pair: (-pair[1] if self.maximize else pair[1], pair[0]),
        )
        return Ranking(self.metric, self.maximize, dict(scores))


def read_ranking(directory: Path) -> Ranking:
    """Returns the ranking in a folder of checkpoints.

    Raises:
        FileNotFoundError: None was recorded.
        CheckpointError: The file is not one that was written here.
    """
    path = directory / BEST
    try:
        with path.open("rb") as file:
            data = file.read(strict_json.MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    ranking = _parse(strict_json.parse(data, str(path)))
    if ranking is None:
        raise CheckpointError(
            f"{path}: not a ranking of checkpoints. Delete it: the next validation writes it anew."
        )
    return ranking


def write_ranking(directory: Path, ranking: Ranking) -> None:
    """Replaces the ranking in a folder of checkpoints.

    Raises:
        MachineError: It cannot be written.
    """
    rows = [{"name": name, "score": score} for name, score in ranking.scores.items()]
    content = rows[0] | {
        "metric": ranking.metric,
        "maximize": ranking.maximize,
        "ranking": rows,
    }
    path = directory / BEST
    try:
        write_atomically(path, strict_json.dump(content, str(path), indent=1) + b"\n")
    except OSError as error:
        raise MachineError(f"Cannot write {path}: {error.strerror}.") from error


def _parse(content: Any) -> Ranking | None:
    if not isinstance(content, dict):
        return None
    if content.keys() != {"name", "score", "metric", "maximize", "ranking"}:
        return None
    metric, maximize, rows = content["metric"], content["maximize"], content["ranking"]
    if not isinstance(metric, str) or not isinstance(maximize, bool) or not isinstance(rows, list):
        return None
    if not 0 < len(rows) <= _MAX_ENTRIES or not all(_is_row(row) for row in rows):
        return None
    ranking = Ranking(metric, maximize, {row["name"]: float(row["score"]) for row in rows})
    return ranking if ranking.best == content["name"] else None


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or row.keys() != {"name", "score"}:
        return False
    name, score = row["name"], row["score"]
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    return (
        isinstance(name, str)
        and updates_of(name) is not None
        and is_number
        and math.isfinite(score)
    )
