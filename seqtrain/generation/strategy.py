"""How prefixes are chosen: what the kinds of search differ in."""

from abc import ABC, abstractmethod

from torch import Tensor

from seqtrain.generation.prefixes import Extensions, Prefixes


class Strategy(ABC):
    """Chooses extensions of prefixes."""

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
