"""One piece for each character."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from seqtrain.data.tokenizers.base import (
    CutLines,
    Tokenizer,
    TokenizerConfig,
    register_tokenizer,
)

SPACE = "▁"
LITERAL = "▁▁"  # a text's own "▁", which would read as a space


@dataclass(kw_only=True)
class CharTokenizerConfig(TokenizerConfig):
    """Characters; nothing is learnt, and decoding gives the exact text."""


@register_tokenizer("char", config=CharTokenizerConfig)
class CharTokenizer(Tokenizer):
    """Spells a space as "▁", the character "▁" as the piece "▁▁", any other as itself."""

    @override
    def encode(self, text: str) -> list[str]:
        return [_PIECES.get(character, character) for character in text]

    @override
    def cut(self, lines: Sequence[str]) -> CutLines:
        codes = np.frombuffer("".join(lines).encode("utf-32-le", errors="surrogatepass"), "<u4")
        occurs = np.bincount(codes, minlength=1) > 0
        characters = [chr(code) for code in np.flatnonzero(occurs).tolist()]
        lengths = np.array([len(line) for line in lines], dtype=np.int64)
        places = np.cumsum(occurs) - 1
        symbols = [_PIECES.get(character, character) for character in characters]
        return CutLines(symbols, places[codes], lengths)

    @override
    def decode(self, pieces: Sequence[str]) -> str:
        return "".join(_CHARACTERS.get(piece, piece) for piece in pieces)


_PIECES = {" ": SPACE, SPACE: LITERAL}
_CHARACTERS = {SPACE: " ", LITERAL: SPACE}
