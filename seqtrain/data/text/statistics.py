"""What prepared text looks like: lengths, vocabulary, padding, examples."""

from collections.abc import Iterator

import numpy as np

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.epoch_plan import EpochPlan
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.sequence_store import IntArray, SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.text.monolingual_data import TextData
from seqtrain.data.text.parallel_data import ParallelData
from seqtrain.data.vocabulary import SPECIALS, UNKNOWN

MOST_EXAMPLES = 100_000
"""Of larger splits that many are looked at, spread evenly."""
NUM_BINS = 10
BAR_CHARACTERS = 40
NUM_SHOWN = 3
SEED = 1


def statistics_lines(data: ParallelData | TextData, max_tokens: int) -> Iterator[str]:
    """Yields a report for people on every split.

    Args:
        data: Pairs or plain text.
        max_tokens: Budget of a batch, for the share of padding.
    """
    yield from data.lines()
    for split in data.splits():
        yield ""
        yield from (
            _text_lines(data, split) if isinstance(data, TextData) else _pair_lines(data, split)
        )
        stores = [data.store(split)] if isinstance(data, TextData) else data.stores(split)
        if len(stores[0]):
            config = DatasetConfig(max_tokens=max_tokens)
            plan = EpochPlan(PairDataset(*stores), config, SEED, shuffle=True)
            summary = plan.summary()
            yield f"  max_tokens={max_tokens}: {summary.lines()[0]}"
            yield from (f"  {line}" for line in summary.lines()[1:])
        yield from _example_lines(data, split)


def _pair_lines(data: ParallelData, split: str) -> Iterator[str]:
    stores = data.stores(split)
    indices = _looked_at(len(stores[0]))
    yield f"{split}: {len(stores[0])} pairs{_scope(indices, len(stores[0]))}"
    for language, side, store in zip(
        data.languages, (data.source, data.target), stores, strict=True
    ):
        yield from _side_lines(language, side, store, indices)


def _text_lines(data: TextData, split: str) -> Iterator[str]:
    store, documents = data.store(split), data.documents(split)
    indices = _looked_at(len(store))
    yield f"{split}: {len(store)} lines{_scope(indices, len(store))}"
    yield from _side_lines("lines", data.side, store, indices)
    if documents is not None and len(documents) > 1:
        looked_at = _looked_at(len(documents) - 1)
        begins = store.begins_at(documents.at(looked_at))
        sizes = store.begins_at(documents.at(looked_at + 1)) - begins
        yield (
            f"  documents: {sizes.min()} to {sizes.max()} symbols, mean {sizes.mean():.1f}, "
            f"median {np.median(sizes):.0f}"
        )
        yield from histogram_lines(sizes)


def _example_lines(data: ParallelData | TextData, split: str) -> Iterator[str]:
    """Yields some examples, decoded."""
    if isinstance(data, TextData):
        columns = [(data.side, data.store(split))]
    else:
        columns = list(zip((data.source, data.target), data.stores(split), strict=True))
    indices = _looked_at(len(columns[0][1]))
    for index in indices[:: max(len(indices) // NUM_SHOWN, 1)][:NUM_SHOWN].tolist():
        texts = [side.decode(store[index]) for side, store in columns]
        yield f"  example {index}: {' | '.join(texts)}"


def _scope(indices: IntArray, count: int) -> str:
    return "" if len(indices) == count else f" (in {len(indices)} of them)"


def histogram_lines(lengths: IntArray) -> Iterator[str]:
    """Yields a histogram of lengths as text, one line for each range that has any."""
    if len(lengths) == 0:
        return
    width = max(-(-(int(lengths.max()) + 1) // NUM_BINS), 1)
    counts = np.bincount(lengths // width)
    digits = len(str(len(counts) * width))
    for number in np.flatnonzero(counts).tolist():
        first, count = number * width, int(counts[number])
        bar = "#" * -(-BAR_CHARACTERS * count // int(counts.max()))
        label = f"{first:>{digits}} to {first + width - 1:>{digits}}"
        yield f"    {label} {bar:{BAR_CHARACTERS}} {count}"


def _looked_at(count: int) -> IntArray:
    if count <= MOST_EXAMPLES:
        return np.arange(count, dtype=np.int64)
    return np.arange(MOST_EXAMPLES, dtype=np.int64) * count // MOST_EXAMPLES


def _side_lines(
    language: str, side: Side, store: SequenceStore, indices: IntArray
) -> Iterator[str]:
    flat, lengths = store.gather(indices)
    if len(lengths) == 0:
        return
    counts = np.bincount(flat, minlength=store.vocab_size)
    num_symbols = len(side.vocabulary) - len(SPECIALS)
    num_used = int((counts[len(SPECIALS) :] > 0).sum())
    unknown = 100.0 * int(counts[UNKNOWN]) / max(len(flat), 1)
    used = 100.0 * num_used / max(num_symbols, 1)
    yield (
        f"  {language}: lengths {lengths.min()} to {lengths.max()}, mean {lengths.mean():.1f}, "
        f"median {np.median(lengths):.0f}; {unknown:.2f}% unknown; {num_used} of {num_symbols} "
        f"symbols occur ({used:.1f}%)"
    )
    yield from histogram_lines(lengths)
