"""Text that is cut into pieces already, with single spaces between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.data.tokenizers.base import Tokenizer, TokenizerConfig, register_tokenizer
from seqtrain.option_checks import require_choice

JOINS = ("none", "sentencepiece", "subword_nmt", "letter")


@dataclass(kw_only=True)
class PiecesConfig(TokenizerConfig):
    """Pieces that another program made, and how they join to text."""

    join: str = "none"
    """none (spaces stay), sentencepiece ("▁" begins a word), subword_nmt ("@@" ends a piece that
    goes on), or letter ("|" is between words)."""

    def __post_init__(self) -> None:
        require_choice("task.tokenizer_options.join", self.join, JOINS)


@register_tokenizer("pieces", config=PiecesConfig)
class PiecesTokenizer(Tokenizer):
    """Splits at white space, and joins pieces to text as their maker would."""

    @override
    def encode(self, text: str) -> list[str]:
        return text.split()

    @override
    def decode(self, pieces: Sequence[str]) -> str:
        if self.config.join == "sentencepiece":
            return "".join(pieces).replace("▁", " ").strip()
        if self.config.join == "letter":
            return "".join(pieces).replace("|", " ").strip()
        text = " ".join(pieces)
        if self.config.join == "subword_nmt":
            return f"{text} ".replace("@@ ", "").rstrip()
        return text


def guess_join(symbols: Iterable[str]) -> str:
    """Returns how pieces of a vocabulary join, as their marks tell."""
    for symbol in symbols:
        if symbol.startswith("▁"):
            return "sentencepiece"
        if symbol.endswith("@@") and len(symbol) > 2:
            return "subword_nmt"
    return "none"
