"""What a tokenizer is: text to pieces and back, learnt from text where it needs to be."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class TokenizerConfig(ComponentConfig):
    """Base of every tokenizer's config."""

    vocab_size: int = 0
    """Pieces that the vocabulary may hold, specials included; 0 means no limit."""


@dataclass(frozen=True)
class CutLines:
    """The pieces of some lines, each distinct piece spelled once.

    Args:
        symbols: The distinct pieces.
        flat: Which of them each piece is, one line after the other, [pieces of all lines].
        lengths: Pieces of each line, [lines].
    """

    symbols: list[str]
    flat: npt.NDArray[np.integer[Any]]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of_ids(
        cls, pieces: Sequence[str], ids: npt.NDArray[Any], lengths: npt.NDArray[np.int64]
    ) -> Self:
        """Returns lines that are known as ids of pieces; only those that occur are kept."""
        occurs = np.bincount(ids, minlength=1) > 0
        used = np.flatnonzero(occurs)
        places = np.cumsum(occurs) - 1
        return cls([pieces[index] for index in used.tolist()], places[ids], lengths)


class Tokenizer(ABC):
    """Base of every tokenizer."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def encode(self, text: str) -> list[str]:
        """Returns the pieces of one line of text."""

    def cut(self, lines: Sequence[str]) -> CutLines:
        """Returns the pieces of many lines; overridden where many at once are faster."""
        places: dict[str, int] = {}
        cut = [self.encode(line) for line in lines]
        flat = [places.setdefault(piece, len(places)) for pieces in cut for piece in pieces]
        lengths = np.array([len(pieces) for pieces in cut], dtype=np.int64)
        return CutLines(list(places), np.array(flat, dtype=np.int64), lengths)

    @abstractmethod
    def decode(self, pieces: Sequence[str]) -> str:
        """Returns the text that the pieces spell."""

    def train(self, lines: Iterable[str]) -> None:  # noqa: B027 # most tokenizers learn nothing
        """Learns from text; called once, before `encode`."""

    def needs_training(self) -> bool:
        """Says whether `train` reads the text."""
        return False

    def given_files(self) -> list[Path]:
        """Returns the files that the config names and `train` reads in place of text."""
        return []

    def notes(self) -> list[str]:
        """Returns what people should know about what was learnt; most have nothing to say."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Returns what was learnt, as plain values and tensors; empty if nothing is."""
        return {}

    @classmethod
    def from_state(cls, config: Any, state: Mapping[str, Any]) -> Self:
        """Returns a tokenizer with what `state_dict` saved. The state is untrusted."""
        return cls(config)


TOKENIZERS: Registry[Tokenizer] = Registry("tokenizer", Tokenizer)
register_tokenizer = TOKENIZERS.register
