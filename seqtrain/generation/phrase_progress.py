"""How far outputs are with the phrases that they must contain, as finite automata.

A *track* is a list of phrases to be written one after another. Its state counts the symbols of it
that are written: those of whole phrases, and those of a phrase that has begun. Where a symbol does
not go on with that phrase, the state falls back to the longest beginning of it that the output
ends with (Knuth, Morris and Pratt 1977), so that no occurrence is missed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

NONE = -1
"""Stands for no symbol."""
Phrase = tuple[int, ...]


def tracks_of(phrases: Sequence[Sequence[int]], is_ordered: bool) -> list[list[Phrase]]:
    """Returns the tracks of a sentence.

    Ordered phrases are one track. Others are a track each, so that they may overlap in an output;
    a phrase that is demanded several times is written as often.
    """
    given = [tuple(phrase) for phrase in phrases if len(phrase)]
    if is_ordered:
        return [given] if given else []
    return [[phrase] * number for phrase, number in Counter(given).items()]


@dataclass(frozen=True)
class PhraseTables:
    """The tracks of some sentences; sizes are those of the largest."""

    alphabet: Tensor
    """Symbols of a track, int64 [sentences, tracks, symbols]; NONE behind."""
    following: Tensor
    """State after another symbol, and after each one of the alphabet, int64
    [sentences, tracks, states, 1 + symbols]."""
    wanted: Tensor
    """Symbol that goes on with a track, int64 [sentences, tracks, states]; NONE at its end."""
    whole: Tensor
    """Symbols of whole phrases in a state, int64 [sentences, tracks, states]."""
    totals: Tensor
    """Symbols of all phrases, int64 [sentences]."""

    @classmethod
    def of_sentence(cls, tracks: Sequence[Sequence[Phrase]], device: torch.device) -> Self:
        """Returns the tables of one sentence; of a track without phrases if it has none."""
        rows = [_of_track(track) for track in tracks or [[]]]
        parts = {name: _joined(name, [row[name] for row in rows])[None] for name in rows[0]}
        total = sum(len(phrase) for track in tracks for phrase in track)
        parts["totals"] = torch.tensor([total])
        return cls(**{name: part.to(device) for name, part in parts.items()})

    @classmethod
    def of_sentences(cls, tables: Sequence["PhraseTables"]) -> Self:
        """Returns those of several sentences as one."""
        names = [field.name for field in fields(cls)]
        return cls(
            **{name: _joined(name, [getattr(table, name) for table in tables]) for name in names}
        )

    @property
    def num_tracks(self) -> int:
        """Tracks of each sentence."""
        return self.alphabet.size(1)

    def after(self, states: Tensor, symbols: Tensor) -> Tensor:
        """Returns the states after one more symbol.

        Args:
            states: int64 [sentences, outputs, tracks].
            symbols: int64 [sentences, outputs].
        """
        is_symbol = symbols[:, :, None, None] == self.alphabet[:, None]
        place = torch.arange(1, self.alphabet.size(2) + 1, device=states.device)
        kinds = (is_symbol * place).sum(dim=3)
        sentence = torch.arange(states.size(0), device=states.device)[:, None, None]
        track = torch.arange(self.num_tracks, device=states.device)
        return self.following[sentence, track, states, kinds]

    def going_on(self, states: Tensor) -> Tensor:
        """Returns the symbol that goes on with each track, in the shape of the states."""
        return self.wanted.gather(2, states.transpose(1, 2)).transpose(1, 2)

    def num_met(self, states: Tensor) -> Tensor:
        """Returns how many symbols of phrases need not be written any more.

        Those of whole phrases, and of the one begun phrase of which most is written: to go on with
        one may break off the others.

        Args:
            states: int64 [sentences, outputs, tracks].

        Returns:
            int64 [sentences, outputs]; `totals` where all phrases are written.
        """
        whole = self.whole.gather(2, states.transpose(1, 2)).transpose(1, 2)
        return whole.sum(dim=2) + (states - whole).amax(dim=2)


def _of_track(phrases: Sequence[Phrase]) -> dict[str, Tensor]:
    """Returns the tables of one track, each [1, ...]."""
    alphabet = sorted({symbol for phrase in phrases for symbol in phrase})
    kinds = {symbol: kind for kind, symbol in enumerate(alphabet, start=1)}
    following: list[list[int]] = []
    whole: list[int] = []
    for phrase in phrases:
        begin = len(following)
        automaton = _automaton([kinds[symbol] for symbol in phrase], len(kinds))
        following += [[begin + state for state in row] for row in automaton]
        whole += [begin] * len(phrase)
    end = len(following)
    symbols = [symbol for phrase in phrases for symbol in phrase]
    return {
        "alphabet": torch.tensor([alphabet], dtype=torch.int64),
        "following": torch.tensor([[*following, [end] * (1 + len(kinds))]]),
        "wanted": torch.tensor([[*symbols, NONE]]),
        "whole": torch.tensor([[*whole, end]]),
    }


def _automaton(phrase: Sequence[int], num_kinds: int) -> list[list[int]]:
    """Returns, for each number of symbols written, how many are after each kind of symbol."""
    rows = [[0] * (1 + num_kinds)]
    rows[0][phrase[0]] = 1
    fallback = 0  # what is written of the phrase where its own first symbol is left out
    for position, kind in enumerate(phrase[1:], start=1):
        rows.append(list(rows[fallback]))
        rows[position][kind] = position + 1
        fallback = rows[fallback][kind]
    return rows


def _joined(name: str, tensors: Sequence[Tensor]) -> Tensor:
    """Returns tables one behind the other, filled up to one size.

    A track that is nothing but filling has no symbols, and so its state stays 0.
    """
    filling = NONE if name in ("alphabet", "wanted") else 0
    largest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        missing = [most - size for most, size in zip(largest, tensor.shape[1:], strict=True)]
        room = [padding for size in reversed(missing) for padding in (0, size)]
        padded.append(F.pad(tensor, room, value=filling) if any(missing) else tensor)
    return torch.cat(padded)
