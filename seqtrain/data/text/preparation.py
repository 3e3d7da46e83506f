"""From raw text to a folder: in parts if wanted, and going on where it was interrupted.

First each part of each split is cut into pieces, appended to a log; then all logs together give
the vocabularies, and ids. Text is cut once, and the result does not depend on parts, processes or
interruptions.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from seqtrain.data.prepare_options import JOIN, PrepareOptions
from seqtrain.data.side import Side
from seqtrain.data.text.byte_streams import Location, open_raw
from seqtrain.data.text.corpus import (
    TRAIN,
    Corpus,
    SplitTotals,
    build_sides,
    count_symbols,
    encode_segments,
    given_files,
    learn_tokenizers,
    no_totals,
)
from seqtrain.data.text.encoding import Cutter, Row, chunks_of, cut_chunks
from seqtrain.data.text.piece_log import PieceLogWriter, Segment, is_complete, read_segments
from seqtrain.data.text.progress import Progress
from seqtrain.data.text.work_folder import WorkFolder, remove_finished
from seqtrain.data.token_store import TokenStoreWriter
from seqtrain.data.tokenizers.base import Tokenizer
from seqtrain.data.tokenizers.files import load_tokenizer, save_tokenizer, tokenizer_text
from seqtrain.errors import ConfigError, DataError, MachineError

HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Layout:
    """How a folder of one kind looks.

    Args:
        store: Path of a column's store of a split: (folder, split, column), without suffix.
        finish: Writes what else there is: (folder, sides, totals by split, facts for the card).
        open: Opens the folder, checks it, and returns what it holds in lines for people.
        prepared_from: Hash of the text and settings that a folder was prepared from; "" if its
            card does not say, None if the folder cannot be used and may be replaced.
    """

    store: Callable[[Path, str, str], Path]
    finish: Callable[[Path, Sequence[Side], dict[str, SplitTotals], dict[str, Any]], None]
    open: Callable[[Path], list[str]]
    prepared_from: Callable[[Path], str | None]


def prepare(
    corpus: Corpus,
    layout: Layout,
    out: Path,
    options: PrepareOptions,
    given: Sequence[Side] | None = None,
) -> list[str]:
    """Prepares a corpus, or one part of it.

    Args:
        corpus: The raw text.
        layout: What the folder looks like.
        out: The folder; it appears under its name when it is complete.
        options: Parts, processes, and whether a folder that is there may be replaced.
        given: Tokenizer and vocabulary of each column; None to learn them.

    Returns:
        What was made, in lines for people.

    Raises:
        ConfigError: The folder holds something else.
        DataError: The text cannot be used.
        MachineError: The folder cannot be written, or another process writes it.
    """
    facts = _facts(corpus, given)
    if (lines := _as_it_is(layout, out, facts["prepared_from"], options)) is not None:
        return lines
    try:
        work = WorkFolder(out, facts["prepared_from"], options)
    except OSError as error:
        raise MachineError(f"out={out}: cannot be written: {error}.") from error
    notes = ["an interrupted command had other text or settings: begun anew"] * work.began_anew
    try:
        if options.shard == JOIN:
            return notes + _join(corpus, layout, work, facts, given)
        number, count = options.part
        with work.lock(number):
            _cut_part(corpus, work, number, options.num_workers, given)
            if count == 1:
                return notes + _join(corpus, layout, work, facts, given)
        return [*notes, f"part {number} of {count} is ready. When all are, run shard={JOIN}"]
    except (DataError, ConfigError):
        if work.num_parts == 1:  # the text or the settings must change: there is no going on
            work.remove()
        raise
    except OSError as error:
        raise MachineError(f"out={out}: cannot be written: {error}.") from error


def _cut_part(
    corpus: Corpus, work: WorkFolder, number: int, num_workers: int, given: Sequence[Side] | None
) -> None:
    tokenizers = _tokenizers(corpus, work, given)
    for split in corpus.splits():
        total = corpus.num_rows(split)
        begin, end = (total * place // work.num_parts for place in (number - 1, number))
        with PieceLogWriter(work.log(split, number)) as log:
            if log.is_complete:
                continue
            progress = Progress(split, end - begin, "rows", done=log.num_rows)
            rows = _from(corpus.rows(split), begin + log.num_rows)
            if end < total:
                rows = _first(rows, end - begin - log.num_rows)
            cutter = Cutter(tokenizers, corpus.keeps_empty(split))
            for num_rows, packed in cut_chunks(cutter, chunks_of(rows), num_workers):
                log.append(num_rows, packed)
                progress.advance(num_rows)
            log.finish()
            progress.close()


def _from(rows: Iterator[Row | None], begin: int) -> Iterator[Row | None]:
    """Returns the rows from one on, and the break before it."""
    skipped = 0
    while skipped < begin:
        skipped += sum(row is not None for row in islice(rows, begin - skipped))
    return rows


def _first(rows: Iterator[Row | None], count: int) -> Iterator[Row | None]:
    """Yields the first rows, without a break behind them."""
    for row in rows:
        count -= row is not None
        if count < 0:
            return
        yield row


def _join(
    corpus: Corpus,
    layout: Layout,
    work: WorkFolder,
    facts: dict[str, Any],
    given: Sequence[Side] | None,
) -> list[str]:
    with work.lock(0):
        for split in corpus.splits():
            for path in work.logs(split):
                if not is_complete(path):
                    raise DataError(
                        f"{path}: this part is not ready. Run seqtrain-preprocess with "
                        "shard=I/N for it, then join again."
                    )
        sides = given or _learn_sides(corpus, work)
        folder = work.begin_ready()
        totals = {
            split: _write_split(corpus, layout, split, _segments(work, split), sides, folder)
            for split in corpus.splits()
        }
        layout.finish(folder, sides, totals, facts)
        lines = layout.open(folder)
        notes = [
            f"note: {note}"
            for tokenizer in {id(side): side.tokenizer for side in sides}.values()
            for note in tokenizer.notes()
        ]
        work.commit()
    return [*lines, *notes, f"written to {work.out}"]


def _learn_sides(corpus: Corpus, work: WorkFolder) -> list[Side]:
    tokenizers = _tokenizers(corpus, work, None)
    counts = count_symbols(_segments(work, TRAIN), len(corpus.columns))
    return build_sides(corpus, tokenizers, counts)


def _write_split(
    corpus: Corpus,
    layout: Layout,
    split: str,
    segments: Iterable[Segment],
    sides: Sequence[Side],
    folder: Path,
) -> SplitTotals:
    totals = no_totals(len(sides))
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                TokenStoreWriter(layout.store(folder, split, column), len(side.vocabulary))
            )
            for column, side in zip(corpus.columns, sides, strict=True)
        ]
        for encoded in encode_segments(segments, sides, totals):
            for writer, (flat, lengths) in zip(writers, encoded, strict=True):
                writer.append_ragged(flat, lengths)
    return totals


def _segments(work: WorkFolder, split: str) -> Iterator[Segment]:
    return chain.from_iterable(read_segments(path) for path in work.logs(split))


def _tokenizers(
    corpus: Corpus, work: WorkFolder, given: Sequence[Side] | None
) -> Sequence[Tokenizer]:
    """Returns the tokenizers; those that were learnt are kept in the work folder.

    Parts that learn at the same time learn the same.
    """
    if given is not None:
        return [side.tokenizer for side in given]
    columns = corpus.columns[:1] if corpus.joined else corpus.columns
    paths = [work.tokenizer(column) for column in columns]
    if not all(path.exists() for path in paths):
        tokenizers = learn_tokenizers(corpus)
        for path, tokenizer in zip(paths, tokenizers, strict=False):
            save_tokenizer(tokenizer, path)
        return tokenizers
    loaded = [load_tokenizer(path) for path in paths]
    return loaded * len(corpus.columns) if corpus.joined else loaded


def _as_it_is(
    layout: Layout, out: Path, prepared_from: str, options: PrepareOptions
) -> list[str] | None:
    """Returns lines if the folder is there already, None if it is to be made."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise ConfigError(f"out={out} is a file. Name a folder.")
    if not any(out.iterdir()):
        return None
    found = layout.prepared_from(out)
    if found == prepared_from:
        try:
            lines = layout.open(out)
        except DataError:
            return None  # damaged: it is made again
        remove_finished(out, prepared_from)
        return [*lines, f"{out} holds this already"]
    if found is not None and not options.overwrite:
        raise ConfigError(
            f"out={out} was prepared from other text or settings. Name another folder, or set "
            "overwrite=true to replace it."
        )
    return None


def _facts(corpus: Corpus, given: Sequence[Side] | None) -> dict[str, Any]:
    """Returns the raw files, the settings, and one hash of both, for the card."""
    files = {
        split: [_file_facts(path) for path in corpus.files(split)] for split in corpus.splits()
    }
    settings = corpus.settings()
    if given is not None:
        settings["vocabularies"] = [side.vocabulary.fingerprint for side in given]
        settings["tokenizers"] = [_tokenizer_hash(side.tokenizer) for side in given]
    else:
        settings["given"] = [_file_facts(path)["sha256"] for path in given_files(corpus)]
    content = {split: [each["sha256"] for each in found] for split, found in files.items()}
    text = json.dumps([settings, content], sort_keys=True)
    prepared_from = hashlib.sha256(text.encode()).hexdigest()
    num_rows = {split: corpus.num_rows(split) for split in corpus.splits()}
    return {
        "prepared_from": prepared_from,
        "settings": settings,
        "files": files,
        "num_rows": num_rows,
    }


def _tokenizer_hash(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer_text(tokenizer).encode()).hexdigest()


def _file_facts(path: Location) -> dict[str, Any]:
    digest, num_bytes = hashlib.sha256(), 0
    with open_raw(path) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
            num_bytes += len(block)
    return {"path": str(path), "bytes": num_bytes, "sha256": digest.hexdigest()}
