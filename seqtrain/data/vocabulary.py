"""Symbols and their ids."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from seqtrain.data.text.lines import read_lines
from seqtrain.errors import CheckpointError, DataError

BOS, PADDING, EOS, UNKNOWN = range(4)
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
OVERWRITE = " #fairseq:overwrite"


class Vocabulary:
    """Symbols by id: the four specials, then the symbols of text in a given order.

    Specials are ids, not spellings: a piece of text that is spelled like one is unknown. Only a
    dictionary of another program may hold a spelling again (see `load`): text gets the last id.

    Args:
        counted: Each symbol of text with how often it occurs (0 if that is not known).

    Raises:
        ValueError: A symbol occurs twice, is spelled like a special, is empty or has a line
            end or a NUL.
    """

    def __init__(self, counted: Iterable[tuple[str, int]] = ()) -> None:
        self.symbols = list(SPECIALS)
        self._counts: list[int] = []
        self._overwriting: list[int] = []  # ids whose spelling an earlier id has too
        self._ids: dict[str, int] = {}
        for symbol, count in counted:
            self._add(symbol, count)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], min_count: int = 0, max_size: int = 0) -> Self:
        """Returns the most frequent symbols; those of equal count are in order of the symbol.

        Args:
            counts: How often each symbol occurs.
            min_count: Rarer ones are left out.
            max_size: Most symbols, specials included; 0 for no limit.
        """
        kept = [
            (symbol, count)
            for symbol, count in counts.items()
            if count >= min_count and symbol not in SPECIALS
        ]
        kept.sort(key=lambda item: (-item[1], item[0]))
        return cls(kept[: max(max_size - len(SPECIALS), 0)] if max_size else kept)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a file with one `symbol count` a line, split at the last space.

        A third field `#fairseq:overwrite` allows a spelling that an earlier id, a special one
        included, has already.

        Raises:
            DataError: A line is not of that form or a symbol is refused; names file and line.
        """
        vocabulary = cls()
        for number, line in enumerate(read_lines(path), start=1):
            entry = line.removesuffix(OVERWRITE)
            symbol, space, count = entry.rpartition(" ")
            if not space or not (count.isascii() and count.isdigit()) or len(count) > 18:
                raise DataError(
                    f"{path}:{number}: {_short(line)} is not a symbol, a space and a count. "
                    "Correct the line or build the vocabulary again."
                )
            try:
                vocabulary._add(symbol, int(count), overwrite=entry != line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error} Remove the line.") from None
        return vocabulary

    def save(self, path: Path) -> None:
        """Writes the file that `load` reads."""
        again = set(self._overwriting)
        text = "".join(
            f"{self.symbols[index]} {count}{OVERWRITE if index in again else ''}\n"
            for index, count in enumerate(self._counts, start=len(SPECIALS))
        )
        # Readers drop one byte order mark; a symbol that begins with it keeps its own.
        path.write_bytes((text if text[:1] != "\ufeff" else "\ufeff" + text).encode())

    def state_dict(self) -> dict[str, Any]:
        """Returns plain lists."""
        return {
            "symbols": self.symbols[len(SPECIALS) :],
            "counts": list(self._counts),
            "overwriting": list(self._overwriting),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Returns what `state_dict` saved. The state is untrusted.

        Raises:
            CheckpointError: It is not of that form.
        """
        symbols, counts = state.get("symbols"), state.get("counts")
        again = state.get("overwriting", [])
        if (
            not isinstance(symbols, list)
            or not isinstance(counts, list)
            or len(symbols) != len(counts)
            or not all(type(symbol) is str for symbol in symbols)
            or not isinstance(again, list)
            or not all(type(value) is int for value in (*counts, *again))
        ):
            raise CheckpointError(
                "A saved vocabulary must hold a list of symbols and one of as many counts. "
                "The checkpoint is damaged or was not written by seqtrain: use another one."
            )
        try:
            "".join(symbols).encode()  # refuses lone surrogates, which no file can hold
            vocabulary = cls()
            allowed = set(again)
            for symbol, count in zip(symbols, counts, strict=True):
                vocabulary._add(symbol, count, overwrite=len(vocabulary) in allowed)
            return vocabulary
        except ValueError as error:
            raise CheckpointError(f"A saved vocabulary is refused: {error}") from None

    @property
    def fingerprint(self) -> str:
        """Hash of the symbols and their order."""
        return blake2b("\n".join(self.symbols).encode(), digest_size=8).hexdigest()

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, pieces: Sequence[str]) -> npt.NDArray[np.int64]:
        """Returns the ids of pieces, without eos; unknown pieces get UNKNOWN."""
        ids = self._ids
        return np.array([ids.get(piece, UNKNOWN) for piece in pieces], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Returns the symbols of ids, specials by their spelling."""
        return [self.symbols[index] for index in ids]

    def _add(self, symbol: str, count: int, overwrite: bool = False) -> None:
        if not symbol or any(byte in symbol for byte in "\n\r\0"):
            raise ValueError(f"The symbol {_short(symbol)} is empty or has a line end or NUL.")
        if symbol in self._ids and not overwrite:
            raise ValueError(f"The symbol {_short(symbol)} occurs twice.")
        if symbol in SPECIALS and not overwrite:
            raise ValueError(f"The symbol {_short(symbol)} is spelled like a special one.")
        if count < 0:
            raise ValueError(f"The symbol {_short(symbol)} has the count {count}.")
        if symbol in self._ids or symbol in SPECIALS:
            self._overwriting.append(len(self.symbols))
        self._ids[symbol] = len(self.symbols)
        self.symbols.append(symbol)
        self._counts.append(count)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
