"""Tokenizers of the package `tokenizers`: a given tokenizer.json, or byte-level BPE learnt here."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from typing_extensions import override

from seqtrain.data.tokenizers.base import (
    CutLines,
    Tokenizer,
    TokenizerConfig,
    register_tokenizer,
)
from seqtrain.errors import CheckpointError, ConfigError, DataError, MachineError


@dataclass(kw_only=True)
class HuggingFaceConfig(TokenizerConfig):
    """A tokenizer of Hugging Face: a given file, or byte-level BPE as in GPT-2."""

    vocab_size: int = 8000
    """Most symbols of the vocabulary, specials included."""
    model: str = ""
    """Path of a tokenizer.json to use instead of learning one. Nothing is downloaded."""
    min_frequency: int = 2
    """Pairs of pieces that occur less often are not merged."""

    def __post_init__(self) -> None:
        if not self.model and self.vocab_size < 264:
            raise ConfigError(
                "task.vocab_size must be at least 264 for huggingface (256 bytes, specials "
                f"and room to learn), got {self.vocab_size}."
            )


@register_tokenizer("huggingface", config=HuggingFaceConfig)
class HuggingFaceTokenizer(Tokenizer):
    """Pieces as the tokenizer spells them, without special ones; the file's JSON is the state.

    Byte-level BPE that is learnt here spells every text: nothing is unknown.
    """

    def __init__(self, config: HuggingFaceConfig) -> None:
        super().__init__(config)
        self._json = ""
        self._tokenizer: Any = None
        self._pieces: list[str] = []

    @property
    def alphabet(self) -> tuple[str, ...]:
        """Symbols that the vocabulary holds whether they occur in training text or not."""
        if self.config.model:
            return ()
        return tuple(sorted(_package().pre_tokenizers.ByteLevel.alphabet()))

    @override
    def train(self, lines: Iterable[str]) -> None:
        """Learns merges, or reads the file that the config names."""
        if not self.config.model:
            self._set(self._learn(lines))
            return
        path = Path(self.config.model)
        try:
            self._set(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(
                f"{path}: {error.strerror}. Correct task.tokenizer_options.model."
            ) from error
        except ValueError as error:
            raise DataError(
                f"{path}: not a tokenizer.json ({_reason(error)}). Correct "
                "task.tokenizer_options.model."
            ) from error

    @override
    def encode(self, text: str) -> list[str]:
        cut = self.cut([text])
        return [cut.symbols[place] for place in cut.flat.tolist()]

    @override
    def cut(self, lines: Sequence[str]) -> CutLines:
        encodings = self._tokenizer.encode_batch_fast(list(lines), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        lengths = np.array([len(each) for each in ids], dtype=np.int64)
        flat = np.fromiter((i for each in ids for i in each), np.int64, int(lengths.sum()))
        return CutLines.of_ids(self._pieces, flat, lengths)

    @override
    def decode(self, pieces: Sequence[str]) -> str:
        decoder = self._tokenizer.decoder
        return " ".join(pieces) if decoder is None else decoder.decode(list(pieces))

    @override
    def needs_training(self) -> bool:
        return not self.config.model

    @override
    def given_files(self) -> list[Path]:
        return [Path(self.config.model)] if self.config.model else []

    @override
    def notes(self) -> list[str]:
        made = len(self._pieces) + 4  # the vocabulary has its special symbols besides
        if self.config.model or made >= self.config.vocab_size:
            return []
        return [
            f"byte-level BPE made {made} symbols, specials included, of the "
            f"{self.config.vocab_size} asked for: the text has no more. Lower "
            "task.vocab_size, or give more text."
        ]

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"json": self._json}

    @classmethod
    @override
    def from_state(cls, config: Any, state: Mapping[str, Any]) -> Self:
        text = state.get("json")
        tokenizer = cls(config)
        try:
            if not isinstance(text, str):
                raise ValueError("it is no text")
            tokenizer._set(text)
        except ValueError as error:
            raise CheckpointError(
                f"A saved huggingface tokenizer cannot be read: {_reason(error)}. "
                "The checkpoint or data folder is damaged: use another one."
            ) from error
        return tokenizer

    def _learn(self, lines: Iterable[str]) -> str:
        package = _package()
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=self.config.vocab_size - 4,
            min_frequency=self.config.min_frequency,
            initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(iter(lines), trainer)
        return tokenizer.to_str()

    def _set(self, text: str) -> None:
        package = _package()
        try:
            tokenizer = package.Tokenizer.from_str(text)
        except Exception as error:  # the package raises bare ones
            raise ValueError(str(error)) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        pieces = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
        if None in pieces:
            raise ValueError("its ids have gaps")
        self._json, self._tokenizer, self._pieces = text, tokenizer, pieces

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "_json": self._json}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _tokenizer=None, _pieces=[])
        if self._json:
            self._set(self._json)


def _package() -> Any:
    # Its threads would compete with the processes that encode text, and do not survive a fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise MachineError(
            "tokenizer=huggingface needs a package: pip install 'seqtrain[huggingface]'."
        ) from None
    return tokenizers


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())
