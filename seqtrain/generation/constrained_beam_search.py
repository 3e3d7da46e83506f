"""Beam search whose outputs contain given phrases: dynamic beam allocation.

Post and Vilar (2018), with the allocation of Hu et al. (2019).
"""

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.generation.best_candidates import best_candidates
from seqtrain.generation.phrase_progress import NONE, PhraseTables, tracks_of
from seqtrain.generation.prefixes import NEVER, Extensions, Prefixes
from seqtrain.generation.starts import Start
from seqtrain.generation.strategy import Strategy
from seqtrain.models.base import ModelContext


class ConstrainedBeamSearch(Strategy):
    """Shares the beam among prefixes that have come equally far with their phrases.

    Candidates are the 2 * beam best extensions, the best one of each prefix, and those that go on
    with a phrase. Of each *bank*, the candidates with the same number of symbols of phrases, the
    best one comes first, that of the largest bank at the very front; then the second ones. So one
    prefix always goes on with its phrases, and an output contains them wherever its longest length
    has room for their symbols. Prefixes that have no room left for what is missing come last. An
    output ends only when it contains all phrases.

    Args:
        beam: Prefixes of each sentence.
        is_ordered: Phrases come in their order and not inside one another.
        context: Special symbols.
    """

    def __init__(self, beam: int, is_ordered: bool, context: ModelContext) -> None:
        self.beam = beam
        self.is_ordered = is_ordered
        self.context = context
        self._tables: dict[int, PhraseTables] = {}  # by running number, as the states
        self._states: dict[int, Tensor] = {}
        self._owners: list[int] = []  # whom the two below belong to
        self._all_tables: PhraseTables | None = None
        self._all_states: Tensor = torch.zeros(0, 0, 0, dtype=torch.int64)

    @override
    def for_search(self) -> Self:
        return type(self)(self.beam, self.is_ordered, self.context)

    @override
    def add(self, start: Start) -> None:
        device = start.tokens.device
        rows = [[[]]] * len(start) if start.phrases is None else start.phrases.tolist()
        begun = start.tokens[:, start.given : -1].tolist()
        padding = self.context.padding_index
        for number, phrases, symbols in zip(start.numbers.tolist(), rows, begun, strict=True):
            real = [[symbol for symbol in phrase if symbol != padding] for phrase in phrases]
            table = PhraseTables.of_sentence(tracks_of(real, self.is_ordered), device)
            states = torch.zeros(1, 1, table.num_tracks, dtype=torch.int64, device=device)
            for symbol in symbols:
                states = table.after(states, torch.tensor([[symbol]], device=device))
            self._tables[number], self._states[number] = table, states[0]

    @override
    def remove(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            del self._tables[number], self._states[number]

    @override
    def extend(self, scores: Tensor, prefixes: Prefixes) -> Extensions:
        tables, states = self._progress(prefixes)
        totals = tables.totals[:, None]
        is_unmet = tables.num_met(states) < totals
        scores[:, :, self.context.eos_index].masked_fill_(is_unmet, NEVER)
        sums, origins, symbols, found = self._candidates(scores, prefixes, tables.going_on(states))
        before = states.gather(1, origins[:, :, None].expand(-1, -1, tables.num_tracks))
        num_met = tables.num_met(tables.after(before, symbols))
        room = (prefixes.limits - prefixes.num_written)[:, None] - 1
        order = _allocation(sums, num_met, totals, room)
        return Extensions(*(values.gather(1, order) for values in (sums, origins, symbols, found)))

    def _progress(self, prefixes: Prefixes) -> tuple[PhraseTables, Tensor]:
        """Returns tables, and states of the prefixes, int64 [sentences, prefixes, tracks]."""
        owners = prefixes.owners.tolist()
        tables = self._all_tables
        if tables is None or owners != self._owners:
            tables = self._regrouped(owners)
        is_first = (prefixes.num_written == 0)[:, None]  # the newest symbol is not of the output
        symbols = prefixes.last_symbols.masked_fill(is_first, self.context.eos_index)
        origins = prefixes.origins[:, :, None].expand(-1, -1, tables.num_tracks)
        self._all_states = tables.after(self._all_states.gather(1, origins), symbols)
        return tables, self._all_states

    def _regrouped(self, owners: list[int]) -> PhraseTables:
        """Puts the states of these sentences side by side, and returns their tables."""
        for owner, states in zip(self._owners, self._all_states, strict=True):
            if owner in self._tables:
                self._states[owner] = states[:, : self._tables[owner].num_tracks]
        known = [self._states[owner] for owner in owners]
        width = max(rows.size(0) for rows in known)
        tables = PhraseTables.of_sentences([self._tables[owner] for owner in owners])
        tracks = tables.num_tracks
        self._all_states = torch.stack(
            [F.pad(rows, (0, tracks - rows.size(1), 0, width - rows.size(0))) for rows in known]
        )
        self._owners, self._all_tables = owners, tables
        return tables

    def _candidates(
        self, scores: Tensor, prefixes: Prefixes, wanted: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns totals, prefixes, symbols and their scores, each [sentences, candidates].

        The best come first, in their order; one that occurs twice is never taken again.

        Args:
            scores: [sentences, prefixes, vocab].
            prefixes: What is extended.
            wanted: Symbols that go on with phrases, int64 [sentences, prefixes, tracks].
        """
        best = best_candidates(scores, prefixes.totals, 2 * self.beam)
        symbols = torch.cat([scores.argmax(dim=2, keepdim=True), wanted], dim=2)
        found = scores.gather(2, symbols.clamp(min=0)).masked_fill(symbols == NONE, NEVER)
        origins = torch.arange(scores.size(1), device=scores.device)[:, None].expand_as(symbols)
        sums = found + prefixes.totals[:, :, None]
        more = (sums, origins, symbols.clamp(min=0), found)
        sums, origins, symbols, found = (
            torch.cat([first, second.flatten(1)], dim=1)
            for first, second in zip(best, more, strict=True)
        )
        keys = origins * scores.size(2) + symbols
        is_again = (keys[:, :, None] == keys[:, None]).tril(-1).any(dim=2)
        return sums.masked_fill(is_again, NEVER), origins, symbols, found


def _allocation(sums: Tensor, num_met: Tensor, totals: Tensor, room: Tensor) -> Tensor:
    """Returns the order in which candidates are taken, int64 [sentences, candidates].

    Args:
        sums: Total log probabilities, [sentences, candidates].
        num_met: Symbols of phrases that each has, int64 [sentences, candidates].
        totals: Symbols of all phrases, int64 [sentences, 1].
        room: Symbols that may follow, int64 [sentences, 1].
    """
    missing = totals - num_met
    place = torch.arange(sums.size(1), device=sums.device)
    is_before = (sums[:, None] > sums[:, :, None]) | (
        (sums[:, None] == sums[:, :, None]) & (place < place[:, None])
    )
    in_bank = missing[:, None] == missing[:, :, None]
    turn = (is_before & in_bank).sum(dim=2)
    key = turn * (totals + 1) + missing
    larger = (sums.size(1) + 1) * (totals + 1)
    key += larger * (missing > room) + 2 * larger * sums.isneginf()
    return key.argsort(dim=1, stable=True)
