"""What a tokenizer is: text to pieces and back, learnt from text where it needs to be."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class TokenizerConfig(ComponentConfig):
    """Base of every tokenizer's config."""

    vocab_size: int = 0
    """Pieces that the vocabulary may hold, specials included; 0 means no limit."""


class Tokenizer(ABC):
    """Base of every tokenizer."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def encode(self, text: str) -> list[str]:
        """Returns the pieces of one line of text."""

    def encode_many(self, lines: Sequence[str]) -> list[list[str]]:
        """Returns the pieces of each line; overridden where many at once are faster."""
        return [self.encode(line) for line in lines]

    @abstractmethod
    def decode(self, pieces: Sequence[str]) -> str:
        """Returns the text that the pieces spell."""

    def train(self, lines: Iterable[str]) -> None:  # noqa: B027 # most tokenizers learn nothing
        """Learns from text; called once, before `encode`."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what was learnt, as plain values and tensors; empty if nothing is."""
        return {}

    @classmethod
    def from_state(cls, config: Any, state: Mapping[str, Any]) -> Self:
        """Returns a tokenizer with what `state_dict` saved. The state is untrusted."""
        return cls(config)


TOKENIZERS: Registry[Tokenizer] = Registry("tokenizer", Tokenizer)
register_tokenizer = TOKENIZERS.register
