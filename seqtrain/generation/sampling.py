"""Sampling: each prefix goes on with a symbol drawn from the model's probabilities."""

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain import rng
from seqtrain.data.keyed_random import GOLDEN, mix_bits
from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.prefixes import NEVER, Extensions, Prefixes
from seqtrain.generation.strategy import Strategy


class Sampling(Strategy):
    """Draws the `beam` prefixes of a sentence independently of one another.

    What is drawn depends on (seed, index of the example, prefix, symbols written so far) alone,
    not on the batch. Scores are the model's log probabilities, whatever the draw was limited to.

    Args:
        config: Options of the search.
    """

    def __init__(self, config: GenerationConfig) -> None:
        self.config = config

    @override
    def extend(self, scores: Tensor, prefixes: Prefixes) -> Extensions:
        beam = self.config.beam
        limited = limit_choice(scores, self.config)
        numbers = self._numbers(prefixes).to(scores.device)
        probabilities = limited.double().softmax(dim=2).nan_to_num_()
        sums = probabilities.cumsum(dim=2)
        if sums.size(1) != beam:  # one prefix so far, from which all are drawn
            sums = sums.expand(-1, beam, -1).contiguous()
        points = (numbers * sums[..., -1]).unsqueeze(2)
        symbols = torch.searchsorted(sums, points, right=True)[..., 0]
        symbols = symbols.clamp(max=scores.size(2) - 1)
        origins = torch.arange(beam, device=scores.device).expand_as(symbols)
        if scores.size(1) != beam:
            origins = torch.zeros_like(symbols)
        by_prefix = limited if limited.size(1) == beam else limited.expand(-1, beam, -1)
        # A prefix that is over, or that may not go on, has no symbol of finite score.
        is_possible = by_prefix.gather(2, symbols[..., None])[..., 0].isfinite()
        every = scores if scores.size(1) == beam else scores.expand(-1, beam, -1)
        found = every.gather(2, symbols[..., None])[..., 0].masked_fill(~is_possible, NEVER)
        return Extensions(prefixes.totals.gather(1, origins) + found, origins, symbols, found)

    def _numbers(self, prefixes: Prefixes) -> Tensor:
        """Returns numbers from 0 to below 1, [sentences, beam]."""
        high, low = (np.uint64(rng.key(self.config.seed, "sampling", h)) for h in ("high", "low"))
        ids = prefixes.ids.cpu().numpy().astype(np.uint64)
        written = prefixes.num_written.cpu().numpy().astype(np.uint64)
        streams = mix_bits(mix_bits(ids ^ (high << np.uint64(32) | low)))
        places = written[:, None] * np.uint64(self.config.beam) + np.arange(
            self.config.beam, dtype=np.uint64
        )
        bits = mix_bits((streams[:, None] + places * GOLDEN).astype(np.uint64))
        # 53 bits are what a double holds.
        return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def limit_choice(scores: Tensor, config: GenerationConfig) -> Tensor:
    """Returns log probabilities with minus infinity where the options allow no draw.

    Each limit applies to what the ones before it leave, in the order top-k, top-p, min-p, typical.
    The most probable symbol (of typical sampling: the most typical one) always stays.

    Args:
        scores: Log probabilities, [..., vocab].
        config: Options of the search.
    """
    if config.sampling_topk:
        kept = scores.topk(min(config.sampling_topk, scores.size(-1)), dim=-1)
        scores = torch.full_like(scores, NEVER).scatter_(-1, kept.indices, kept.values)
    if config.sampling_topp < 1.0:
        scores = _keep_mass(scores, -scores, config.sampling_topp)
    if config.sampling_minp:
        probabilities = scores.softmax(dim=-1)
        least = config.sampling_minp * probabilities.amax(dim=-1, keepdim=True)
        scores = scores.masked_fill(probabilities < least, NEVER)
    if config.sampling_typicalp < 1.0:
        normal = scores.log_softmax(dim=-1)
        entropy = -(normal.exp() * normal).nan_to_num(nan=0.0).sum(dim=-1, keepdim=True)
        scores = _keep_mass(scores, (-normal - entropy).abs(), config.sampling_typicalp)
    return scores


def _keep_mass(scores: Tensor, ranking: Tensor, mass: float) -> Tensor:
    """Keeps the first symbols of a ranking (smallest first) that have the mass together."""
    order = ranking.nan_to_num(nan=float("inf")).argsort(dim=-1, stable=True)
    probabilities = scores.softmax(dim=-1).gather(-1, order)
    before = probabilities.cumsum(dim=-1) - probabilities
    is_over = torch.zeros_like(before, dtype=torch.bool).scatter_(-1, order, before >= mass)
    return scores.masked_fill(is_over, NEVER)
