"""Plain text as a folder: written once by `seqtrain-preprocess`, opened by every run."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.prepare_options import AT_ONCE, PrepareOptions
from seqtrain.data.prepared_folder import CARD, damaged, read_card
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.text.corpus import TRAIN, SplitTotals
from seqtrain.data.text.monolingual_data import TextCounts, TextData, count_text, has_documents
from seqtrain.data.text.monolingual_text import TextCorpus, TextSettings
from seqtrain.data.text.preparation import Layout, prepare
from seqtrain.data.token_store import TokenStore
from seqtrain.data.tokenizers.files import load_tokenizer, save_tokenizer
from seqtrain.data.vocabulary import Vocabulary
from seqtrain.errors import ConfigError, DataError
from seqtrain.files import write_atomically

KIND = "seqtrain text"
VERSION = 1
TOKENIZER = "tokenizer.json"
VOCABULARY = "dict.txt"


def prepare_text(
    settings: TextSettings,
    out: Path,
    options: PrepareOptions = AT_ONCE,
    side: Side | None = None,
) -> list[str]:
    """Learns a tokenizer and a vocabulary, encodes every split, and writes a folder.

    Args:
        settings: The text, and what to make of it.
        out: The folder; it appears under its name when it is complete.
        options: Processes, parts, and whether a folder may be replaced.
        side: Tokenizer and vocabulary to use; None learns them from the training text.

    Returns:
        What it holds, in lines for people.

    Raises:
        DataError: A file cannot be used.
        ConfigError: The folder holds something else.
        MachineError: The folder cannot be written.
    """
    layout = Layout(
        store=lambda folder, split, column: folder / split,
        finish=partial(_finish, settings),
        open=lambda folder: open_prepared_text(folder).lines(),
        prepared_from=_prepared_from,
    )
    given = None if side is None else [side]
    return prepare(TextCorpus(settings), layout, out, options, given)


def open_prepared_text(path: Path) -> TextData:
    """Opens a folder that `prepare_text` wrote.

    Raises:
        DataError: It is not such a folder, or a file in it is damaged or was exchanged.
    """
    card = read_card(path, KIND, VERSION)
    try:
        counts = {split: TextCounts(**entry) for split, entry in card["splits"].items()}
        fingerprints = dict(card["fingerprints"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(path / CARD, f"a field is missing or wrong: {error}") from error
    if any("/" in split for split in counts):
        raise damaged(path / CARD, "the splits are not possible")
    side = Side(load_tokenizer(path / TOKENIZER), Vocabulary.load(path / VOCABULARY))
    stores: dict[str, SequenceStore] = {split: TokenStore(path / split) for split in counts}
    documents = {
        split: _open_documents(path / f"{split}.documents", len(stores[split]))
        if f"{split}.documents" in fingerprints
        else None
        for split in counts
    }
    for name, found in _fingerprints(side, stores, documents).items():
        if found != fingerprints.get(name):
            expected = fingerprints.get(name)
            raise damaged(path / name, f"its fingerprint is {found}, expected is {expected}")
    return TextData(side, stores, documents, counts)


def training_prefixes(path: Path, side: Side) -> list[Path]:
    """Returns where the training text of a folder is, whose vocabulary must be this one.

    Raises:
        DataError: It is not such a folder, is damaged, or has another vocabulary.
    """
    if open_prepared_text(path).side.vocabulary.symbols != side.vocabulary.symbols:
        raise DataError(
            f"{path} has another vocabulary than task.data. Prepare it with task.vocabulary_from."
        )
    return [path / TRAIN]


def _finish(
    settings: TextSettings,
    folder: Path,
    sides: Sequence[Side],
    totals: dict[str, SplitTotals],
    facts: dict[str, Any],
) -> None:
    (side,) = sides
    save_tokenizer(side.tokenizer, folder / TOKENIZER)
    side.vocabulary.save(folder / VOCABULARY)
    documents: dict[str, ArrayFile | None] = dict.fromkeys(totals)
    for split, each in totals.items():
        if has_documents(settings):
            starts = each.document_starts()
            (folder / f"{split}.documents").write_bytes(starts.astype("<i8").tobytes())
            documents[split] = ArrayFile.in_memory(starts)
    stores = {split: TokenStore(folder / split) for split in totals}
    card = {
        "kind": KIND,
        "version": VERSION,
        "vocabulary_size": len(side.vocabulary),
        "splits": {split: asdict(count_text(settings, each)) for split, each in totals.items()},
        "fingerprints": _fingerprints(side, stores, documents),
        **facts,
    }
    write_atomically(folder / CARD, json.dumps(card, indent=1).encode() + b"\n")


def _open_documents(path: Path, num_entries: int) -> ArrayFile:
    documents = ArrayFile(path, np.dtype("<i8"))
    first = documents.at(np.array([0]))[0] if len(documents) else -1
    last = documents.at(np.array([len(documents) - 1]))[0] if len(documents) else -1
    if last != num_entries or (first != 0 and num_entries):
        raise damaged(path, f"its documents span {first} to {last}, not 0 to {num_entries}")
    return documents


def _fingerprints(
    side: Side, stores: dict[str, Any], documents: dict[str, ArrayFile | None]
) -> dict[str, str]:
    found = {VOCABULARY: side.vocabulary.fingerprint}
    for split, store in stores.items():
        found[f"{split}.index"] = store.fingerprint
        starts = documents[split]
        if starts is not None:
            found[f"{split}.documents"] = f"{starts.crc32():08x}"
    return found


def _prepared_from(out: Path) -> str | None:
    try:
        return str(read_card(out, KIND, VERSION).get("prepared_from", ""))
    except DataError as error:
        raise ConfigError(
            f"out={out} holds files that seqtrain-preprocess did not write for text. Name another "
            "folder, or remove it."
        ) from error
