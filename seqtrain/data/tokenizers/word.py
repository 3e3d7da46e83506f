"""Words between white space."""

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.data.tokenizers.base import Tokenizer, TokenizerConfig, register_tokenizer


@dataclass(kw_only=True)
class WordTokenizerConfig(TokenizerConfig):
    """Words as they stand, for text that is tokenised already."""


@register_tokenizer("word", config=WordTokenizerConfig)
class WordTokenizer(Tokenizer):
    """Splits at white space. Decoding puts single spaces between the words."""

    @override
    def encode(self, text: str) -> list[str]:
        return text.split()

    @override
    def decode(self, pieces: Sequence[str]) -> str:
        return " ".join(pieces)
