"""Text to ids in this process or in several, in order, with bounded memory."""

import multiprocessing
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from seqtrain.data.side import Side
from seqtrain.data.tokenizers.base import Tokenizer
from seqtrain.errors import MachineError

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")
Ragged = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
CHUNK_LINES = 4096
CHUNKS_AHEAD = 3  # of each worker


def encode_pairs(
    sides: Sequence[Side], pairs: Iterable[tuple[str, str]], num_workers: int
) -> Iterator[list[Ragged]]:
    """Yields the ids of some thousand pairs at a time.

    Args:
        sides: The source's and the target's.
        pairs: Source and target texts.
        num_workers: Processes; 1 for this one.

    Returns:
        For each side: the ids, one line after the other, and the length of each line.
    """
    return map_chunks(_encode, list(sides), pairs, num_workers)


def count_pieces(tokenizer: Tokenizer, lines: Iterable[str], num_workers: int) -> Counter[str]:
    """Returns how often each piece occurs in a text."""
    counts: Counter[str] = Counter()
    for part in map_chunks(_count, tokenizer, lines, num_workers):
        counts.update(part)
    return counts


def map_chunks(
    function: Callable[[Context, list[Item]], Result],
    context: Context,
    items: Iterable[Item],
    num_workers: int,
) -> Iterator[Result]:
    """Yields function(context, chunk) for each chunk of the items, in order.

    Args:
        function: A function of a module, since other processes look it up by name.
        context: What it needs for every chunk; sent to each process once.
        items: What is cut into chunks.
        num_workers: Processes; 1 for this one.

    Raises:
        MachineError: A process died.
    """
    iterator = iter(items)
    chunks = iter(lambda: list(islice(iterator, CHUNK_LINES)), [])
    if num_workers <= 1:
        return (function(context, chunk) for chunk in chunks)
    return _in_processes(function, context, chunks, num_workers)


def _in_processes(
    function: Callable[[Context, list[Item]], Result],
    context: Context,
    chunks: Iterator[list[Item]],
    num_workers: int,
) -> Iterator[Result]:
    # Forked workers know plug-ins and need not import anything.
    start = "fork" if sys.platform == "linux" else None
    with ProcessPoolExecutor(
        num_workers, multiprocessing.get_context(start), _set_context, (context,)
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


def _encode(sides: list[Side], pairs: list[tuple[str, str]]) -> list[Ragged]:
    return [side.encode_many([pair[at] for pair in pairs]) for at, side in enumerate(sides)]


def _count(tokenizer: Tokenizer, lines: list[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for pieces in tokenizer.encode_many(lines):
        counts.update(pieces)
    return counts


_worker_context: list[object] = []  # of a worker process: set once, when it starts


def _set_context(context: object) -> None:
    _worker_context[:] = [context]


def _call(function: Callable[[Any, list[Item]], Result], chunk: list[Item]) -> Result:
    return function(_worker_context[0], chunk)
