"""Scores of a model's own probabilities, by the scorers that read no texts."""

from collections.abc import Sequence

from seqtrain.errors import ConfigError
from seqtrain.metrics import Metrics
from seqtrain.scorers.base import Likelihood, Scorer
from seqtrain.tasks.base import Task


def model_scores(
    scorers: Sequence[Scorer], metrics: Metrics, task: Task, split: str
) -> dict[str, float]:
    """Returns the scores of those scorers that ask the model.

    Args:
        scorers: All that are used.
        metrics: Of the split; those scorers need nll_loss.
        task: Gives the text of the targets, if it has such.
        split: Its name.

    Raises:
        ConfigError: The criterion does not report nll_loss.
    """
    asking = [scorer for scorer in scorers if not scorer.reads_texts]
    if not asking:
        return {}
    if "nll_loss" not in metrics:
        raise ConfigError(
            f"scorer={asking[0].config.name} needs the negative log probability of the targets, "
            "which this run's criterion does not report (metric nll_loss). Leave it out of "
            "scorers."
        )
    total, count = metrics["nll_loss"].sums.tolist()
    likelihood = Likelihood(total, int(count), _num_bytes(task, split))
    return {
        name: value
        for scorer in asking
        for name, value in scorer.score_model(likelihood).items()
        if name not in metrics  # a task that measures it knows better
    }


def _num_bytes(task: Task, split: str) -> int:
    """Returns the bytes of a split's first references, line ends included; 0 if not known."""
    if task.predicts or not task.has_references:
        return 0
    return sum(len(texts[0].encode()) + 1 for texts in task.references(split))
