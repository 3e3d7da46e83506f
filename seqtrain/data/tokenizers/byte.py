"""One piece for each byte of UTF-8: 256 symbols spell every text."""

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

ALPHABET = tuple(f"<0x{byte:02X}>" for byte in range(256))


@dataclass(kw_only=True)
class ByteTokenizerConfig(TokenizerConfig):
    """Bytes; nothing is learnt and nothing is unknown."""


@register_tokenizer("byte", config=ByteTokenizerConfig)
class ByteTokenizer(Tokenizer):
    """Spells byte 65 as "<0x41>". Decoding replaces bytes that are not UTF-8 by U+FFFD."""

    alphabet = ALPHABET
    """Symbols that the vocabulary holds whether they occur in training text or not."""

    @override
    def encode(self, text: str) -> list[str]:
        return [ALPHABET[byte] for byte in text.encode("utf-8", errors="replace")]

    @override
    def cut(self, lines: Sequence[str]) -> CutLines:
        spelled = [line.encode("utf-8", errors="replace") for line in lines]
        lengths = np.array([len(line) for line in spelled], dtype=np.int64)
        return CutLines(list(ALPHABET), np.frombuffer(b"".join(spelled), np.uint8), lengths)

    @override
    def decode(self, pieces: Sequence[str]) -> str:
        spelled = bytes(_BYTES[piece] for piece in pieces if piece in _BYTES)
        return spelled.decode("utf-8", errors="replace")


_BYTES = {symbol: byte for byte, symbol in enumerate(ALPHABET)}
