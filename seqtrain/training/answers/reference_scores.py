"""Scores of given targets: what search would say of them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.generation.base import Hypothesis
from seqtrain.models.base import ModelContext, ModelOutput

_ROWS_AT_ONCE = 2048


def reference_scores(
    output: ModelOutput, batch: Batch, context: ModelContext, lenpen: float
) -> Iterator[tuple[int, Hypothesis]]:
    """Yields (example index, its target as a hypothesis) for each example of a batch.

    Args:
        output: Of the model, for the batch's inputs.
        batch: Its targets are symbol ids, [batch, time], padded.
        context: Tells padding and eos.
        lenpen: Sums of log probabilities are divided by length ** lenpen, eos counted.
    """
    is_real = batch.targets.ne(context.padding_index)
    targets = batch.targets[is_real]
    scores = _log_probs(output, is_real, targets)
    lengths = is_real.sum(dim=1).tolist()
    rows = zip(targets.split(lengths), scores.split(lengths), strict=True)
    for index, (symbols, log_probs) in zip(batch.ids.tolist(), rows, strict=False):
        tokens, token_scores = symbols.tolist(), log_probs.tolist()
        # Summed in float64: a sentence of a thousand symbols keeps its digits.
        score = float(log_probs.double().sum()) / max(len(tokens), 1) ** lenpen
        if tokens and tokens[-1] == context.eos_index:
            tokens.pop()
        yield index, Hypothesis(tokens=tokens, score=score, token_scores=token_scores)


def _log_probs(output: ModelOutput, is_real: Tensor, targets: Tensor) -> Tensor:
    """Returns the log probability of each target, [targets]."""
    features = output.features[is_real].split(_ROWS_AT_ONCE)
    parts = [
        torch.log_softmax(output.output_layer(rows).float(), dim=-1)
        .gather(1, symbols[:, None])
        .squeeze(1)
        for rows, symbols in zip(features, targets.split(_ROWS_AT_ONCE), strict=True)
    ]
    return torch.cat(parts) if parts else features[0].new_zeros(0)
