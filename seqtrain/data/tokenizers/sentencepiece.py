"""Subwords learnt by SentencePiece (Kudo and Richardson, 2018)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.data.tokenizers.base import (
    CutLines,
    Tokenizer,
    TokenizerConfig,
    register_tokenizer,
)
from seqtrain.errors import CheckpointError, ConfigError, DataError, MachineError
from seqtrain.option_checks import require_choice, require_range

MODEL_TYPES = ("unigram", "bpe")


@dataclass(kw_only=True)
class SentencePieceConfig(TokenizerConfig):
    """Subwords, learnt from the training text unless a model is given."""

    vocab_size: int = 8000
    """Most symbols of the vocabulary, specials included."""
    model: str = ""
    """Path of an existing model to use instead of learning one."""
    model_type: str = "unigram"
    """unigram or bpe."""
    character_coverage: float = 0.9995
    """Share of the characters of the text that pieces must cover; 1.0 for small alphabets."""

    def __post_init__(self) -> None:
        if self.vocab_size < 8:
            raise ConfigError(
                f"task.vocab_size must be at least 8 for sentencepiece, got {self.vocab_size}."
            )
        require_choice("task.tokenizer_options.model_type", self.model_type, MODEL_TYPES)
        require_range(
            "task.tokenizer_options.character_coverage", self.character_coverage, least=0.9, most=1
        )


@register_tokenizer("sentencepiece", config=SentencePieceConfig)
class SentencePieceTokenizer(Tokenizer):
    """Subwords of a SentencePiece model; the model's bytes are the state."""

    def __init__(self, config: SentencePieceConfig) -> None:
        super().__init__(config)
        self._model = b""
        self._processor: Any = None
        self._pieces: list[str] = []

    @override
    def train(self, lines: Iterable[str]) -> None:
        """Learns a model, or reads the one that the config names.

        The same lines give the same bytes: the number of threads is fixed, since the sums of
        the unigram model are split over threads.
        """
        self._set(self._read() if self.config.model else self._learn(lines))

    @override
    def encode(self, text: str) -> list[str]:
        return self._processor.encode(text, out_type=str)

    @override
    def cut(self, lines: Sequence[str]) -> CutLines:
        # Ids are four times as fast as pieces. Its threads would compete with other processes.
        cut = self._processor.encode(list(lines), out_type=int, num_threads=1)
        lengths = np.array([len(ids) for ids in cut], dtype=np.int64)
        flat = np.fromiter(chain.from_iterable(cut), dtype=np.int64, count=int(lengths.sum()))
        spelled: dict[str, int] = {}  # all unknown pieces have one id: give each spelling its own
        ends = np.cumsum(lengths)
        places = np.flatnonzero(flat == self._processor.unk_id())
        rows = np.searchsorted(ends, places, side="right")
        texts = {row: self.encode(lines[row]) for row in set(rows.tolist())}
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            text = texts[row][place - int(ends[row])]
            flat[place] = len(self._pieces) + spelled.setdefault(text, len(spelled))
        return CutLines.of_ids([*self._pieces, *spelled], flat, lengths)

    @override
    def decode(self, pieces: Sequence[str]) -> str:
        return self._processor.decode(list(pieces))

    @override
    def needs_training(self) -> bool:
        return not self.config.model

    @override
    def given_files(self) -> list[Path]:
        return [Path(self.config.model)] if self.config.model else []

    @override
    def notes(self) -> list[str]:
        made = len(self._pieces) + 1  # the vocabulary has one more special symbol than the model
        if self.config.model or made >= self.config.vocab_size:
            return []
        return [
            f"sentencepiece made {made} symbols, specials included, of the "
            f"{self.config.vocab_size} asked for: the text has no more. Lower "
            "task.vocab_size, or give more text."
        ]

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"model": torch.from_numpy(np.frombuffer(self._model, dtype=np.uint8).copy())}

    @classmethod
    @override
    def from_state(cls, config: Any, state: Mapping[str, Any]) -> Self:
        model = state.get("model")
        if not isinstance(model, Tensor) or model.dtype != torch.uint8:
            raise CheckpointError(
                "A saved sentencepiece tokenizer must hold its model as bytes. "
                "The checkpoint or data folder is damaged: use another one."
            )
        tokenizer = cls(config)
        try:
            tokenizer._set(model.numpy().tobytes())
        except RuntimeError as error:
            raise CheckpointError(
                f"A saved sentencepiece model cannot be read: {_reason(error)} "
                "The checkpoint or data folder is damaged: use another one."
            ) from error
        return tokenizer

    def _read(self) -> bytes:
        path = Path(self.config.model)
        try:
            model = path.read_bytes()
            _load(model)
        except OSError as error:
            raise DataError(
                f"{path}: {error.strerror}. Correct task.tokenizer_options.model."
            ) from error
        except RuntimeError as error:
            raise DataError(
                f"{path}: not a SentencePiece model ({_reason(error)}). Correct "
                "task.tokenizer_options.model."
            ) from error
        return model

    def _learn(self, lines: Iterable[str]) -> bytes:
        written = BytesIO()
        try:
            _package().SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=written,
                model_type=self.config.model_type,
                vocab_size=self.config.vocab_size - 1,
                character_coverage=self.config.character_coverage,
                hard_vocab_limit=False,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise DataError(
                f"SentencePiece cannot learn from the training text: {_reason(error)} "
                f"Change task.vocab_size ({self.config.vocab_size}) or give more text."
            ) from error
        return written.getvalue()

    def _set(self, model: bytes) -> None:
        self._processor = _load(model)
        self._pieces = self._processor.id_to_piece(list(range(self._processor.get_piece_size())))
        self._model = model

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "_model": self._model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _processor=None, _pieces=[])
        if self._model:
            self._set(self._model)


def _package() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise MachineError(
            "tokenizer=sentencepiece needs a package: pip install 'seqtrain[sentencepiece]'."
        ) from None
    return sentencepiece


def _load(model: bytes) -> Any:
    if not model:  # SentencePiece takes no bytes for no model and fails at the first use
        raise RuntimeError("it is empty")
    return _package().SentencePieceProcessor(model_proto=model)


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    last = (lines or ["no reason given"])[-1].strip()
    # The text for people follows the place in SentencePiece's own source.
    return last.rpartition("] ")[2]
