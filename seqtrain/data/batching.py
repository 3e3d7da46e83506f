"""Batches by length: which examples are used, and which of them go together."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from seqtrain.errors import ConfigError, DataError
from seqtrain.option_checks import require_choice, require_range

IntArray = npt.NDArray[np.int64]
SKIP, CUT, REFUSE = LONG_EXAMPLE_POLICIES = ("skip", "cut", "refuse")
NUM_LISTED_IDS = 10


@dataclass(kw_only=True)
class DatasetConfig:
    """How examples become batches, and who loads them."""

    max_tokens: int = 4096
    """Budget of a batch: rows x longest example (source or target, eos counted); 0 for none."""
    batch_size: int = 0
    """Most examples in a batch; 0 for no limit."""
    batch_multiple: int = 1
    """Batches of at least this many rows get a multiple of it, as some GPUs prefer. Nothing is
    dropped: the rest of the rows makes a smaller batch."""
    max_source_positions: int = 1024
    """Longest source that is trained on, eos counted; 0 for no limit."""
    max_target_positions: int = 1024
    """Longest target that is trained on, eos counted; 0 for no limit."""
    long_examples: str = "skip"
    """What training does with an example above a limit: skip it, cut it (where the data can be
    cut), or refuse to train. Skipped and cut ones are listed at the beginning. Evaluation always
    keeps every example whole."""
    window_size: int = 1 << 18
    """Examples that are sorted by length together; which ones they are is drawn anew in each
    epoch, in blocks of up to 512 neighbours."""
    curriculum_epochs: int = 0
    """For so many epochs training takes the batches of each window from short to long."""
    accept_changed_batching: bool = False
    """Continue a run with another budget or other limits than its checkpoint has: the window that
    was begun is finished as it was planned, then the new ones hold. Without it such a change is
    refused. The size of the window cannot change."""
    num_workers: int = 0
    """Processes that load batches; 0 loads them in the training process."""
    prefetch: int = 2
    """Batches that each worker prepares ahead."""
    timeout_seconds: float = 300.0
    """A batch that takes longer than this to load is an error; 0 waits for ever."""

    def __post_init__(self) -> None:
        minima = {
            "max_tokens": 0,
            "batch_size": 0,
            "batch_multiple": 1,
            "max_source_positions": 0,
            "max_target_positions": 0,
            "window_size": 1,
            "curriculum_epochs": 0,
            "num_workers": 0,
            "prefetch": 1,
            "timeout_seconds": 0,
        }
        for name, minimum in minima.items():
            value = getattr(self, name)
            require_range(f"dataset.{name}", value, least=minimum)
        if self.max_tokens == 0 and self.batch_size == 0:
            raise ConfigError(
                "dataset.max_tokens and dataset.batch_size are both 0: give one a limit."
            )
        require_choice("dataset.long_examples", self.long_examples, LONG_EXAMPLE_POLICIES)

    def longest(self) -> tuple[int, int]:
        """Returns the most positions of a source and of a target; 0 for no limit."""
        sides = (self.max_source_positions, self.max_target_positions)
        limits = [[limit for limit in (side, self.max_tokens) if limit] for side in sides]
        return min(limits[0], default=0), min(limits[1], default=0)

    def plan_settings(self) -> dict[str, int | str]:
        """Returns the settings that decide which batches an epoch has."""
        return {
            "max_tokens": self.max_tokens,
            "batch_size": self.batch_size,
            "batch_multiple": self.batch_multiple,
            "max_source_positions": self.max_source_positions,
            "max_target_positions": self.max_target_positions,
            "long_examples": self.long_examples,
            "window_size": self.window_size,
            "curriculum_epochs": self.curriculum_epochs,
        }


@dataclass
class Filtered:
    """Examples left out or cut for one reason.

    Args:
        reason: The limit in words, with its config key.
        action: What is done with them, in words.
        count: How many there are.
        first_ids: The first ten of them.
    """

    reason: str
    action: str = "left out"
    count: int = 0
    first_ids: list[int] = field(default_factory=list)

    def add(self, ids: IntArray) -> None:
        """Counts further examples."""
        self.count += len(ids)
        room = NUM_LISTED_IDS - len(self.first_ids)
        self.first_ids.extend(ids[:room].tolist())


def usable(
    lengths: npt.NDArray[np.int32], ids: IntArray, config: DatasetConfig
) -> tuple[npt.NDArray[np.bool_], list[Filtered]]:
    """Says which examples training uses.

    Args:
        lengths: Positions by example and side, [examples, sides]. The first side is held against
            `max_source_positions`, the second against `max_target_positions`, and each against
            `max_tokens`.
        ids: Index of each example in the dataset, for the report.
        config: The limits.

    Returns:
        True where an example is used, whole or cut, [examples], and one entry for each limit that
        is passed.

    Raises:
        DataError: There are such examples and `long_examples` is "refuse".
    """
    limits = [
        ("source", lengths[:, 0:1], "max_source_positions", config.max_source_positions),
        ("target", lengths[:, 1:2], "max_target_positions", config.max_target_positions),
        ("example", lengths, "max_tokens", config.max_tokens),
    ]
    fits = np.ones(len(ids), dtype=np.bool_)
    found: list[Filtered] = []
    for what, sides, key, limit in limits:
        if limit == 0:
            continue
        too_long = fits & (sides > limit).any(axis=1)
        if too_long.any():
            action = "cut" if config.long_examples == CUT else "left out"
            entry = Filtered(f"{what} longer than dataset.{key}={limit}", action)
            entry.add(np.sort(ids[too_long]))
            found.append(entry)
            fits &= ~too_long
    if found and config.long_examples == REFUSE:
        examples = "1 example is" if found[0].count == 1 else f"{found[0].count} examples are"
        raise DataError(
            f"{examples} too long ({found[0].reason}), the first with index "
            f"{found[0].first_ids[0]}. Raise the limit, remove them, or set "
            "dataset.long_examples=skip or cut."
        )
    return fits | (config.long_examples == CUT), found


def shorten_lengths(lengths: npt.NDArray[np.int32], config: DatasetConfig) -> npt.NDArray[np.int32]:
    """Returns the lengths, [examples, sides], of examples that are cut to the limits."""
    no_limit = np.iinfo(np.int32).max
    longest = [limit or no_limit for limit in config.longest()][: lengths.shape[1]]
    longest += [config.max_tokens or no_limit] * (lengths.shape[1] - len(longest))
    return np.minimum(lengths, np.array(longest, dtype=np.int32))


def plan_window(
    lengths: npt.NDArray[np.int32], order: IntArray, config: DatasetConfig
) -> list[IntArray]:
    """Cuts one window of examples into batches of similar length.

    Examples are sorted by their longest side, then by the difference between the last and the
    first side, ties in the given order, and cut greedily: a batch ends where one more row would
    pass the budget. An example that passes the budget alone is a batch of its own.

    Args:
        lengths: Positions of the examples of `order`, [examples, sides].
        order: Example indices, [examples], shuffled for training.
        config: The budget.

    Returns:
        The example indices of each batch, shortest batch first.
    """
    if len(order) == 0:
        return []
    longest = lengths.max(axis=1).astype(np.int64)
    difference = lengths[:, -1].astype(np.int64) - lengths[:, 0]
    # The direction alternates, so that where one length ends and the next begins the other side
    # is alike too.
    difference[longest % 2 == 0] *= -1
    by_length = np.argsort((longest << 32) + difference, kind="stable")
    cuts = _greedy_cuts(longest[by_length], config)
    ordered = order[by_length]
    return [ordered[begin:end] for begin, end in zip([0, *cuts[:-1]], cuts, strict=True)]


def _greedy_cuts(longest: IntArray, config: DatasetConfig) -> list[int]:
    """Returns the end of each batch over ascending lengths; the loop is over distinct lengths."""
    num_rows = len(longest)
    run_starts = np.flatnonzero(np.diff(longest, prepend=-1))
    run_ends = [*run_starts[1:].tolist(), num_rows]
    multiple = config.batch_multiple
    cuts: list[int] = []
    start = 0
    for begin, end in zip(run_starts.tolist(), run_ends, strict=True):
        limit = _most_rows(int(longest[begin]), config)
        # The open batch holds shorter rows only and has no room for a row of this length.
        while start < begin and begin - start >= limit:
            start += _whole_multiple(begin - start, multiple)
            cuts.append(start)
        num_full = (end - start) // limit
        cuts.extend(range(start + limit, start + limit * num_full + 1, limit))
        start += limit * num_full
    cuts.extend(_remaining_cuts(start, num_rows, multiple))
    return cuts


def _remaining_cuts(start: int, num_rows: int, multiple: int) -> Iterator[int]:
    while start < num_rows:
        start += _whole_multiple(num_rows - start, multiple)
        yield start


def _most_rows(length: int, config: DatasetConfig) -> int:
    limits = []
    if config.max_tokens:
        limits.append(config.max_tokens // max(length, 1))
    if config.batch_size:
        limits.append(config.batch_size)
    return _whole_multiple(max(min(limits), 1), config.batch_multiple)


def _whole_multiple(rows: int, multiple: int) -> int:
    return rows if rows < multiple else rows - rows % multiple


def padding_share(lengths: npt.NDArray[np.int32], batch_rows: IntArray) -> float:
    """Returns the share of padding, 0 to 1, over all sides.

    Args:
        lengths: Positions by example, batch after batch, [examples, sides].
        batch_rows: Rows of each batch, [batches]; none is 0.
    """
    if len(batch_rows) == 0:
        return 0.0
    starts = np.cumsum(batch_rows) - batch_rows
    widths = np.maximum.reduceat(lengths, starts, axis=0).astype(np.int64)
    positions = int((widths * batch_rows[:, None]).sum())
    return 1.0 - int(lengths.sum(dtype=np.int64)) / positions if positions else 0.0
