"""Rows of text to pieces in this process or in several, in order, with bounded memory."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, compress, islice
from typing import Any, TypeVar

import numpy as np

from seqtrain.data.text.piece_log import CutColumn, Segment
from seqtrain.data.tokenizers.base import Tokenizer
from seqtrain.errors import MachineError

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")
Row = tuple[str, ...]
CHUNK_ROWS = 8192
CHUNK_CHARACTERS = 1 << 21
ROWS_AT_ONCE = 64
CHUNKS_AHEAD = 3  # of each worker
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


@dataclass(frozen=True)
class Chunk:
    """Some rows of text. Few long strings travel to a process faster than many short ones.

    Args:
        columns: For each column its lines, with line ends between them.
        num_rows: Lines of each column.
        breaks: Rows, counted in the chunk, before which a document begins.
    """

    columns: tuple[str, ...]
    num_rows: int
    breaks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cutter:
    """What makes pieces of rows.

    Args:
        tokenizers: One for each column.
        keeps_empty: Rows with an empty column are kept; otherwise they are left out.
    """

    tokenizers: Sequence[Tokenizer]
    keeps_empty: bool


def chunks_of(rows: Iterable[Row | None]) -> Iterator[Chunk]:
    """Yields the rows in chunks, which depend on the rows alone; None begins a document."""
    iterator = iter(rows)
    waiting: list[Row] = []
    breaks: list[int] = []
    size = 0
    while block := list(islice(iterator, ROWS_AT_ONCE)):
        if None in block:
            for row in block:
                if row is None:
                    breaks.append(len(waiting))
                else:
                    waiting.append(row)
                    size += sum(map(len, row))
        else:
            waiting += block  # type: ignore[arg-type] # there is no None
            size += sum(map(len, chain.from_iterable(block)))  # type: ignore[arg-type] # the same
        if len(waiting) >= CHUNK_ROWS or size >= CHUNK_CHARACTERS:
            yield _chunk(waiting, breaks)
            waiting, breaks, size = [], [], 0
    if waiting:
        yield _chunk(waiting, breaks)


def cut(cutter: Cutter, chunk: Chunk) -> Segment:
    """Returns the pieces of a chunk."""
    columns = [column.split("\n") for column in chunk.columns]
    breaks = np.array(chunk.breaks, dtype=np.int64)
    if not cutter.keeps_empty and not all(all(map(str.strip, column)) for column in columns):
        keep = [all(map(str.strip, row)) for row in zip(*columns, strict=True)]
        columns = [list(compress(column, keep)) for column in columns]
        breaks = np.concatenate([[0], np.cumsum(keep)])[breaks]
    parts = [
        _cut_column(tokenizer, column)
        for tokenizer, column in zip(cutter.tokenizers, columns, strict=True)
    ]
    return Segment(chunk.num_rows, breaks, tuple(parts))


def cut_chunks(
    cutter: Cutter, chunks: Iterable[Chunk], num_workers: int
) -> Iterator[tuple[int, bytes]]:
    """Yields for each chunk how many rows it has, and its pieces as `Segment.pack` gives them."""
    return map_chunks(_cut_and_pack, cutter, chunks, num_workers)


def map_chunks(
    function: Callable[[Context, Item], Result],
    context: Context,
    chunks: Iterable[Item],
    num_workers: int,
) -> Iterator[Result]:
    """Yields function(context, chunk) for each chunk, in order.

    Args:
        function: A function of a module, since other processes look it up by name.
        context: What it needs for every chunk; sent to each process once.
        chunks: What it is called with.
        num_workers: Processes; 1 for this one.

    Raises:
        MachineError: A process died.
    """
    if num_workers <= 1:
        return (function(context, chunk) for chunk in chunks)
    return _in_processes(function, context, chunks, num_workers)


def _in_processes(
    function: Callable[[Context, Item], Result],
    context: Context,
    chunks: Iterable[Item],
    num_workers: int,
) -> Iterator[Result]:
    # Forked workers know plug-ins and need not import anything.
    start = "fork" if sys.platform == "linux" else None
    with ProcessPoolExecutor(
        num_workers, multiprocessing.get_context(start), _begin_worker, (context, os.getpid())
    ) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_call, function, chunk))
                if len(waiting) >= CHUNKS_AHEAD * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise MachineError(
                "A process that encodes text died; it may be out of memory. num_workers=1 shows "
                "other causes."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunk(rows: list[Row], breaks: list[int]) -> Chunk:
    columns = tuple("\n".join(column) for column in zip(*rows, strict=True))
    return Chunk(columns, len(rows), tuple(breaks))


def _cut_column(tokenizer: Tokenizer, lines: list[str]) -> CutColumn:
    text = "".join(lines)
    pieces = tokenizer.cut(lines)
    return CutColumn(
        symbols=pieces.symbols,
        counts=np.bincount(pieces.flat, minlength=len(pieces.symbols)),
        flat=pieces.flat,
        lengths=pieces.lengths,
        num_characters=len(text) + len(lines),
        num_bytes=len(text.encode("utf-8", errors="replace")) + len(lines),
    )


def _cut_and_pack(cutter: Cutter, chunk: Chunk) -> tuple[int, bytes]:
    return chunk.num_rows, cut(cutter, chunk).pack()


_worker_context: list[object] = []  # of a worker process: set once, when it starts


def _begin_worker(context: object, parent: int) -> None:
    _worker_context[:] = [context]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    if sys.platform == "linux":
        # A parent that is killed cannot: Linux does it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _call(function: Callable[[Any, Item], Result], chunk: Item) -> Result:
    return function(_worker_context[0], chunk)
