"""The best of many candidates, without sorting all."""

import math

import torch
from torch import Tensor

BLOCK = 64
"""Symbols whose largest score is found first."""


def best_candidates(
    scores: Tensor, totals: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the best of a sentence's candidates: symbols behind each of its prefixes.

    On a CPU the `count` best are looked for in the `count` blocks of symbols with the largest
    maxima, where they must be.

    Args:
        scores: Of each symbol, [sentences, prefixes, vocab].
        totals: Of each prefix, added to those of its symbols, [sentences, prefixes].
        count: Wanted; fewer where there are fewer.

    Returns:
        Totals with the symbol, best first; prefixes; symbols; the symbols' scores; all
        [sentences, count]. Undefined scores count as minus infinity.
    """
    num_sentences, width, vocab = scores.shape
    count = min(count, width * vocab)
    num_blocks = -(-vocab // BLOCK)
    if scores.device.type != "cpu" or width * num_blocks <= 2 * count:
        return _best_of_all(scores, totals, count)
    maxima = _block_maxima(scores.flatten(0, 1)).view(num_sentences, width, num_blocks)
    maxima = (maxima + totals[:, :, None]).flatten(1)
    if bool(maxima.isnan().any()):
        return _best_of_all(scores, totals, count)
    blocks = maxima.topk(count, dim=1, sorted=False).indices
    prefixes = (blocks // num_blocks)[:, :, None].expand(-1, -1, BLOCK)
    symbols = (blocks % num_blocks * BLOCK)[:, :, None] + torch.arange(BLOCK)
    is_spare = symbols >= vocab
    symbols = symbols.clamp(max=vocab - 1)
    first = torch.arange(0, num_sentences * width * vocab, width * vocab)[:, None, None]
    found = scores.view(-1)[first + prefixes * vocab + symbols].masked_fill_(is_spare, -math.inf)
    sums = found + totals.gather(1, blocks // num_blocks)[:, :, None]
    best, chosen = sums.flatten(1).topk(count, dim=1)
    prefixes, symbols, found = (
        values.flatten(1).gather(1, chosen) for values in (prefixes, symbols, found)
    )
    return best, prefixes, symbols, found


def _block_maxima(rows: Tensor) -> Tensor:
    num_full = rows.size(1) // BLOCK
    maxima = rows[:, : num_full * BLOCK].unflatten(1, (num_full, BLOCK)).amax(dim=2)
    if num_full * BLOCK == rows.size(1):
        return maxima
    return torch.cat([maxima, rows[:, num_full * BLOCK :].amax(dim=1, keepdim=True)], dim=1)


def _best_of_all(
    scores: Tensor, totals: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    vocab = scores.size(2)
    scores = scores.masked_fill(scores.isnan(), -math.inf)
    best, chosen = (scores + totals[:, :, None]).flatten(1).topk(count, dim=1)
    return best, chosen // vocab, chosen % vocab, scores.flatten(1).gather(1, chosen)
