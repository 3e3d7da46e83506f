"""The prefixes that a search extends, and the best extensions of them, as tensors."""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER = -math.inf
"""Log probability of what must not be."""


@dataclass(frozen=True)
class Prefixes:
    """Prefixes of some sentences: equally many of each, and of one length in each."""

    tokens: Tensor
    """Symbol ids from the first eos on, int64 [sentences, prefixes, time]; padding behind."""
    symbol_scores: Tensor
    """Log probability of each symbol, [sentences, prefixes, time]."""
    totals: Tensor
    """Summed log probabilities, [sentences, prefixes]; minus infinity: not to go on with."""
    origins: Tensor
    """Which of the sentence's earlier prefixes each one extends, int64 [sentences, prefixes]."""
    lengths: Tensor
    """Symbols of the prefixes of each sentence, the first eos counted, int64 [sentences]."""
    given: Tensor
    """Symbols at the beginning that are a prompt and do not belong to the output, [sentences]."""
    limits: Tensor
    """Most symbols that an output may have, eos not counted, int64 [sentences]."""
    num_found: Tensor
    """Finished hypotheses, int64 [sentences]."""
    owners: Tensor
    """Running number of each sentence in the whole search, int64 [sentences]."""
    ids: Tensor
    """Index of each sentence in its dataset, int64 [sentences]."""

    def __len__(self) -> int:
        return self.lengths.size(0)

    @property
    def num_written(self) -> Tensor:
        """Symbols that each sentence's outputs have so far, int64 [sentences]."""
        return self.lengths - self.given

    @property
    def last_symbols(self) -> Tensor:
        """The newest symbol of each prefix, int64 [sentences, prefixes]."""
        last = (self.lengths - 1)[:, None, None].expand(-1, self.tokens.size(1), 1)
        return self.tokens.gather(2, last)[:, :, 0]

    def select(self, positions: Tensor) -> "Prefixes":
        """Returns the sentences at these positions, in this order."""
        return replace(
            self, **{field.name: getattr(self, field.name)[positions] for field in fields(self)}
        )

    def followed_by(self, others: "Prefixes") -> "Prefixes":
        """Returns these sentences and others with as many prefixes, in one."""
        time = max(self.tokens.size(2), others.tokens.size(2))
        joined = {
            field.name: torch.cat(
                [_padded(getattr(prefixes, field.name), time) for prefixes in (self, others)]
            )
            for field in fields(self)
        }
        return replace(self, **joined)


@dataclass(frozen=True)
class Extensions:
    """Extensions of each sentence's prefixes by a symbol, best first; all [sentences, number]."""

    totals: Tensor
    """Summed log probabilities; minus infinity where there is no further one."""
    origins: Tensor
    """Which of the sentence's prefixes is extended, int64."""
    symbols: Tensor
    """int64."""
    symbol_scores: Tensor
    """Log probability of the symbol."""

    def at_least(self, number: int) -> "Extensions":
        """Returns these with that many columns; those that are missing are never taken."""
        missing = number - self.totals.size(1)
        if missing <= 0:
            return self
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values = {name: F.pad(tensor, (0, missing)) for name, tensor in values.items()}
        values["totals"][:, -missing:] = NEVER
        return replace(self, **values)


def extended(
    prefixes: Prefixes, extensions: Extensions, chosen: Tensor, num_found: Tensor
) -> Prefixes:
    """Returns the prefixes that some extensions make.

    Args:
        prefixes: Those that are extended.
        extensions: Of them.
        chosen: Ranks of the extensions to take, int64 [sentences, new prefixes].
        num_found: Finished hypotheses with those of this step, int64 [sentences].
    """
    origins, symbols, scores, totals = (
        values.gather(1, chosen)
        for values in (
            extensions.origins,
            extensions.symbols,
            extensions.symbol_scores,
            extensions.totals,
        )
    )
    time = int(prefixes.lengths.max()) + 1
    where = prefixes.lengths[:, None, None].expand(-1, chosen.size(1), 1)
    past = origins[:, :, None].expand(-1, -1, prefixes.tokens.size(2))
    return replace(
        prefixes,
        tokens=_padded(prefixes.tokens.gather(1, past), time).scatter(2, where, symbols[..., None]),
        symbol_scores=_padded(prefixes.symbol_scores.gather(1, past), time).scatter(
            2, where, scores[..., None]
        ),
        totals=totals,
        origins=origins,
        lengths=prefixes.lengths + 1,
        num_found=num_found,
    )


def first_prefixes(
    tokens: Tensor,
    symbol_scores: Tensor,
    given: int,
    limits: Tensor,
    numbers: tuple[Tensor, Tensor],
) -> Prefixes:
    """Returns one prefix for each sentence.

    Args:
        tokens: Symbol ids from the first eos on, all of one length, int64 [sentences, time].
        symbol_scores: Their log probabilities, [sentences, time]; zero where they do not count.
        given: Symbols that do not belong to the output.
        limits: Most symbols of an output, int64 [sentences].
        numbers: Owners and ids, each int64 [sentences].
    """
    count, time = tokens.shape
    zeros = torch.zeros(count, dtype=torch.int64, device=tokens.device)
    return Prefixes(
        tokens=tokens[:, None],
        symbol_scores=symbol_scores[:, None],
        totals=symbol_scores.sum(dim=1, keepdim=True),
        origins=zeros[:, None],
        lengths=zeros + time,
        given=zeros + given,
        limits=limits,
        num_found=zeros,
        owners=numbers[0],
        ids=numbers[1],
    )


def _padded(values: Tensor, time: int) -> Tensor:
    """Returns [sentences, prefixes, time] with room for more time; others as they are."""
    if values.dim() < 3 or values.size(2) >= time:
        return values
    return F.pad(values, (0, time - values.size(2)))
