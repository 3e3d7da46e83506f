"""What prepared parallel text looks like: lengths, vocabulary, padding, examples."""

from collections.abc import Iterator

import numpy as np

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.epoch_plan import EpochPlan
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.parallel_data import ParallelData
from seqtrain.data.sequence_store import IntArray, SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.vocabulary import SPECIALS, UNKNOWN

MOST_EXAMPLES = 100_000
"""Of larger splits that many are looked at, spread evenly."""
NUM_BINS = 10
BAR_CHARACTERS = 40
NUM_SHOWN = 3
SEED = 1


def statistics_lines(data: ParallelData, max_tokens: int) -> Iterator[str]:
    """Yields a report for people on every split.

    Args:
        data: The text.
        max_tokens: Budget of a batch, for the share of padding.
    """
    yield from data.lines()
    for split in data.splits():
        stores = data.stores(split)
        indices = _looked_at(len(stores[0]))
        scope = "" if len(indices) == len(stores[0]) else f" (in {len(indices)} of them)"
        yield ""
        yield f"{split}: {len(stores[0])} pairs{scope}"
        for language, side, store in zip(
            data.languages, (data.source, data.target), stores, strict=True
        ):
            yield from _side_lines(language, side, store, indices)
        if len(stores[0]):
            config = DatasetConfig(max_tokens=max_tokens)
            plan = EpochPlan(PairDataset(*stores), config, SEED, shuffle=True)
            summary = plan.summary()
            yield f"  max_tokens={max_tokens}: {summary.lines()[0]}"
            yield from (f"  {line}" for line in summary.lines()[1:])
        for index in indices[:: max(len(indices) // NUM_SHOWN, 1)][:NUM_SHOWN].tolist():
            source, target = (
                side.decode(store[index])
                for side, store in zip((data.source, data.target), stores, strict=True)
            )
            yield f"  example {index}: {source} | {target}"


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
