"""How prefixes are chosen: what the kinds of search differ in."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

from torch import Tensor

from seqtrain.generation.prefixes import Extensions, Prefixes
from seqtrain.generation.starts import Start


class Strategy(ABC):
    """Chooses extensions of prefixes."""

    def for_search(self) -> Self:
        """Returns what one search uses: itself, unless it keeps something of the sentences."""
        return self

    def add(self, start: Start) -> None:  # noqa: B027 # most strategies have nothing to do
        """Is told of sentences before they are extended for the first time."""

    def remove(self, numbers: Iterable[int]) -> None:  # noqa: B027 # as above
        """Is told the running numbers of sentences that are done."""

    @abstractmethod
    def extend(self, scores: Tensor, prefixes: Prefixes) -> Extensions:
        """Returns extensions of each sentence, in the order in which they are taken.

        The first `beam` of them that do not end go on; those that end and are among the first
        `beam` are finished.

        Args:
            scores: Log probabilities of next symbols, [sentences, prefixes, vocab]; may be
                overwritten.
            prefixes: What is extended: one prefix of each sentence at first, then `beam`.
        """
