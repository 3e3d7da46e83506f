"""Parallel text as a folder: written once by `seqtrain-preprocess`, opened by every run."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from seqtrain.data.prepare_options import AT_ONCE, PrepareOptions
from seqtrain.data.prepared_folder import damaged, other_kind
from seqtrain.data.side import Side
from seqtrain.data.text.corpus import TRAIN, SplitTotals
from seqtrain.data.text.lines import read_lines
from seqtrain.data.text.parallel_data import (
    ParallelData,
    SideCounts,
    SplitCounts,
    Stores,
    count_split,
)
from seqtrain.data.text.parallel_text import (
    ParallelCorpus,
    ParallelSettings,
    raw_pairs,
    references_of,
)
from seqtrain.data.text.preparation import Layout, prepare
from seqtrain.data.token_store import TokenStore
from seqtrain.data.tokenizers.files import load_tokenizer, save_tokenizer
from seqtrain.data.vocabulary import Vocabulary
from seqtrain.errors import ConfigError, DataError
from seqtrain.files import write_atomically

CARD = "card.json"
KIND = "seqtrain parallel text"
VERSION = 1


def prepare_parallel(
    settings: ParallelSettings,
    out: Path,
    options: PrepareOptions = AT_ONCE,
    learnt: tuple[Side, Side] | None = None,
) -> list[str]:
    """Learns tokenizers and vocabularies, encodes every split, and writes a folder.

    The folder appears under its name when it is complete. See `preparation.prepare`.

    Args:
        settings: The text, and what to make of it.
        out: The folder.
        options: Processes, parts, and whether a folder may be replaced.
        learnt: Tokenizers and vocabularies to use; None learns them from the training text.

    Returns:
        What it holds, in lines for people.

    Raises:
        DataError: A file cannot be used, or the sides of a split differ in length.
        ConfigError: The folder holds something else.
        MachineError: The folder cannot be written.
    """
    layout = Layout(
        store=_store_path,
        finish=partial(_finish, settings),
        open=lambda path: open_prepared(path).lines(),
        prepared_from=prepared_from,
    )
    return prepare(ParallelCorpus(settings), layout, out, options, learnt)


def open_prepared(path: Path) -> ParallelData:
    """Opens a folder that `prepare_parallel` wrote.

    Raises:
        DataError: It is not such a folder, or a file in it is damaged or was exchanged.
    """
    card = _read_card(path)
    if card.get("version") != VERSION:
        raise DataError(
            f"{path / CARD}: version {card.get('version')!r}, this program reads {VERSION}. "
            "Run seqtrain-preprocess again."
        )
    try:
        languages = (str(card["source"]), str(card["target"]))
        counts = {split: _split_counts(entry) for split, entry in card["splits"].items()}
        fingerprints = dict(card["fingerprints"])
        separator = str(card["reference_separator"])
        joined = bool(card["joined"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(path / CARD, f"a field is missing or wrong: {error}") from error
    if languages[0] == languages[1] or any("/" in name for name in (*languages, *counts)):
        raise damaged(path / CARD, "the languages or splits are not possible")
    sides = _open_sides(path, languages, joined)
    for name, found in _vocabulary_fingerprints(sides).items():
        _same(path, "fingerprint", name, found, fingerprints.get(name))
    stores = {split: _open_stores(path, split, sides) for split in counts}
    for name, found in _store_fingerprints(sides, stores).items():
        _same(path, "fingerprint", name, found, fingerprints.get(name))
    references = {}
    for split in counts:
        if split != TRAIN:
            references_path = _references_path(path, split, languages[1])
            lines = [references_of(line, separator) for line in read_lines(references_path)]
            _same(path, "number of lines", references_path.name, len(lines), len(stores[split][1]))
            references[split] = lines
    source, target = sides.values()
    return ParallelData(languages, source, target, joined, stores, references, counts)


def _finish(
    settings: ParallelSettings,
    folder: Path,
    sides: Sequence[Side],
    totals: dict[str, SplitTotals],
    facts: dict[str, Any],
) -> None:
    by_language = dict(zip((settings.source, settings.target), sides, strict=True))
    for split in totals:
        if split != TRAIN:
            _write_references(settings, split, folder)
    for language, side in by_language.items():
        save_tokenizer(side.tokenizer, _tokenizer_path(folder, language))
        side.vocabulary.save(_vocabulary_path(folder, language))
    stores = {split: _open_stores(folder, split, by_language) for split in totals}
    fingerprints = _vocabulary_fingerprints(by_language) | _store_fingerprints(by_language, stores)
    card = {
        "kind": KIND,
        "version": VERSION,
        "source": settings.source,
        "target": settings.target,
        "joined": settings.joined,
        "min_count": settings.min_count,
        "reference_separator": settings.reference_separator,
        "vocabulary_sizes": {name: len(side.vocabulary) for name, side in by_language.items()},
        "splits": {split: asdict(count_split(each)) for split, each in totals.items()},
        "fingerprints": fingerprints,
        **facts,
    }
    write_atomically(folder / CARD, json.dumps(card, indent=1).encode() + b"\n")


def _write_references(settings: ParallelSettings, split: str, folder: Path) -> None:
    path = _references_path(folder, split, settings.target)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{target}\n" for _, target in raw_pairs(settings, split))


def _vocabulary_fingerprints(sides: dict[str, Side]) -> dict[str, str]:
    return {f"dict.{language}.txt": side.vocabulary.fingerprint for language, side in sides.items()}


def _store_fingerprints(sides: dict[str, Side], stores: dict[str, Stores]) -> dict[str, str]:
    return {
        f"{split}.{language}.index": store.fingerprint
        for split, pair in stores.items()
        for language, store in zip(sides, pair, strict=True)
    }


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads((path / CARD).read_bytes())
    except OSError as error:
        raise DataError(
            f"{path / CARD}: {error.strerror}. task.data must be a folder that "
            "seqtrain-preprocess wrote."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path / CARD}: not JSON: {error}. Restore the file, or remove the folder and run "
            "seqtrain-preprocess again."
        ) from error
    if not isinstance(card, dict):
        raise damaged(path / CARD, "not the card of a prepared folder")
    if card.get("kind") != KIND:
        raise other_kind(path, card.get("kind"), KIND)
    return card


def _split_counts(entry: dict[str, Any]) -> SplitCounts:
    sides = [SideCounts(**entry[side]) for side in ("source", "target")]
    return SplitCounts(int(entry["num_pairs"]), int(entry["num_dropped"]), *sides)


def _open_sides(path: Path, languages: tuple[str, str], joined: bool) -> dict[str, Side]:
    sides = {}
    for language in languages:
        tokenizer = load_tokenizer(_tokenizer_path(path, language))
        sides[language] = Side(tokenizer, Vocabulary.load(_vocabulary_path(path, language)))
    if joined:
        found, expected = (side.vocabulary.fingerprint for side in sides.values())
        _same(path, "fingerprint", _vocabulary_path(path, languages[0]).name, found, expected)
        sides = dict.fromkeys(languages, sides[languages[0]])
    return sides


def _open_stores(path: Path, split: str, sides: dict[str, Side]) -> Stores:
    source, target = (TokenStore(_store_path(path, split, language)) for language in sides)
    for store, (language, side) in zip((source, target), sides.items(), strict=True):
        name = f"{split}.{language}.index"
        _same(path, "vocabulary size", name, store.vocab_size, len(side.vocabulary))
    return source, target


def _same(path: Path, what: str, name: str, found: object, expected: object) -> None:
    if found != expected:
        raise damaged(path / name, f"its {what} is {found}, expected is {expected}")


def _store_path(folder: Path, split: str, language: str) -> Path:
    return folder / f"{split}.{language}"


def _references_path(folder: Path, split: str, language: str) -> Path:
    return folder / f"{split}.references.{language}"


def _tokenizer_path(folder: Path, language: str) -> Path:
    return folder / f"tokenizer.{language}.json"


def _vocabulary_path(folder: Path, language: str) -> Path:
    return folder / f"dict.{language}.txt"


def training_prefixes(path: Path, source: Side, target: Side) -> list[Path]:
    """Returns where the training text of a folder is, whose vocabularies must be these.

    Raises:
        DataError: It is not such a folder, is damaged, or has other vocabularies.
    """
    data = open_prepared(path)
    for mine, own in ((data.source, source), (data.target, target)):
        if mine.vocabulary.symbols != own.vocabulary.symbols:
            raise DataError(
                f"{path} has another vocabulary than task.data. Prepare it with "
                "task.vocabulary_from."
            )
    return [_store_path(path, TRAIN, language) for language in data.languages]


def prepared_from(out: Path) -> str | None:
    """Returns the hash of what a folder was prepared from.

    Returns:
        "" if its card does not say, None if this program cannot read it.

    Raises:
        ConfigError: It is no such folder.
    """
    try:
        card = _read_card(out)
    except DataError as error:
        raise ConfigError(
            f"out={out} holds files that seqtrain-preprocess did not write. Name another folder."
        ) from error
    return str(card.get("prepared_from", "")) if card.get("version") == VERSION else None
