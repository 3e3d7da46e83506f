"""One side of a text problem: how lines become ids, and ids lines."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from seqtrain.data.tokenizers.base import TOKENIZERS, Tokenizer
from seqtrain.data.vocabulary import SPECIALS, Vocabulary


@dataclass(frozen=True)
class Side:
    """A tokenizer with the vocabulary of its pieces."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary

    def encode(self, line: str) -> npt.NDArray[np.int64]:
        """Returns the ids of a line, without eos."""
        return self.vocabulary.encode(self.tokenizer.encode(line))

    def encode_many(
        self, lines: Sequence[str]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Returns the ids of lines, one line after the other, and the length of each line."""
        cut = self.tokenizer.cut(lines)
        return self.vocabulary.encode(cut.symbols)[cut.flat], cut.lengths

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the line that ids spell; specials other than the unknown symbol are left out."""
        return self.tokenizer.decode(
            self.vocabulary.decode(i for i in ids if i >= len(SPECIALS) - 1)
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values and tensors for a checkpoint."""
        return {
            "tokenizer": dataclasses.asdict(self.tokenizer.config),
            "learnt": self.tokenizer.state_dict(),
            "vocabulary": self.vocabulary.state_dict(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Returns what `state_dict` saved. The state is untrusted."""
        config = TOKENIZERS.parse(state["tokenizer"])
        tokenizer = TOKENIZERS.get(config.name).cls.from_state(config, state["learnt"])
        return cls(tokenizer, Vocabulary.from_state(state["vocabulary"]))
