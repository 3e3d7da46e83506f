"""Which pieces of a vocabulary begin a word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from seqtrain.data.vocabulary import SPECIALS

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
BEGIN_MARKS = ("\u2581", "\u0120", " ")  # of sentencepiece, of byte-level BPE, and a plain space
END_MARK = "@@"  # of subword-nmt: the word goes on


@dataclass(frozen=True)
class WordMarks:
    """How words are told from pieces.

    Args:
        begins: True for ids that begin a word wherever they stand, [vocab].
        goes_on: True for ids after which the same word goes on, [vocab].
    """

    begins: BoolArray
    goes_on: BoolArray

    @classmethod
    def of(cls, symbols: Sequence[str]) -> Self:
        """Returns the marks of a vocabulary, by the most frequent kind of mark in it.

        Without any mark every piece is a word.
        """
        text = symbols[len(SPECIALS) :]
        found = {mark: sum(each.startswith(mark) for each in text) for mark in BEGIN_MARKS}
        found[END_MARK] = sum(each.endswith(END_MARK) for each in text)
        kind = max(found, key=lambda mark: found[mark])
        everywhere = np.ones(len(symbols), dtype=np.bool_)
        if found[kind] == 0:
            return cls(everywhere, ~everywhere)
        if kind == END_MARK:
            return cls(everywhere, np.array([each.endswith(END_MARK) for each in symbols]))
        return cls(np.array([each.startswith(kind) for each in symbols]), ~everywhere)

    def starts(self, flat: IntArray, lengths: IntArray) -> BoolArray:
        """Says where a word begins in some sequences that stand one after the other.

        Specials, ids outside of the vocabulary, and what follows them begin anew.
        """
        inside = (flat >= len(SPECIALS)) & (flat < len(self.begins))
        ids = np.where(inside, flat, 0)
        alone = ~inside
        begins = alone | self.begins[ids]
        goes_on = ~alone & self.goes_on[ids]
        starts = begins.copy()
        starts[1:] = (begins[1:] & ~goes_on[:-1]) | alone[1:] | alone[:-1]
        row_begins = np.cumsum(lengths) - lengths
        starts[row_begins[lengths > 0]] = True
        return starts
