"""The stream of micro-batches: its order, each rank's share, and the position to resume from."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice, tee
from typing import Any

from seqtrain.batch import Batch
from seqtrain.data.batch_loader import Request, load_batches
from seqtrain.data.batching import CUT, DatasetConfig, IntArray
from seqtrain.data.dataset import Dataset
from seqtrain.data.epoch_plan import BatchingSummary, EpochPlan
from seqtrain.errors import CheckpointError, ConfigError, DataError

# A window that was begun is planned with one cut and cannot be loaded with another.
CUT_SETTINGS = {"long_examples", "max_tokens", "max_source_positions", "max_target_positions"}
ORDER_VERSION = 1
"""Changes with every change of code that gives the same data another order."""


@dataclass(frozen=True)
class Position:
    """The first micro-batch that no finished update has consumed, counted over all ranks.

    Args:
        epoch: Pass over the data, from 1.
        window: Window of the epoch, from 0.
        consumed: Micro-batches of that window before this one.
    """

    epoch: int = 1
    window: int = 0
    consumed: int = 0


@dataclass(frozen=True)
class Group:
    """What one rank computes in one update.

    Args:
        batches: `update_freq` micro-batches; empty ones where the epoch has no more.
        first_index: Index of the first of them in the whole update, over all ranks.
        end: Position after the update.
        is_last: No update of this epoch follows.
    """

    batches: list[Batch]
    first_index: int
    end: Position
    is_last: bool


@dataclass(frozen=True)
class _PlannedGroup:
    requests: list[Request]
    end: Position
    is_last: bool


@dataclass(frozen=True)
class _BegunWindow:
    """A window that was begun with other settings of batching, and is finished with them."""

    epoch: int
    window: int
    settings: dict[str, Any]
    plan: EpochPlan


class EpochIterator:
    """Gives the micro-batches of each update and knows the position to resume from.

    The stream of an epoch's micro-batches is a function of (seed, epoch, dataset): the same for
    every number of ranks, of workers and of micro-batches in an update, all of which may change
    at any update. An update takes the next world_size * update_freq of the stream; rank r gets
    the r-th share of update_freq.

    Args:
        dataset: The examples.
        config: Budget, limits and workers.
        seed: What the order is drawn from.
        rank: This process.
        world_size: Processes that share each update.
        shuffle: True for training. False for evaluation: every example, in a fixed order.
        pin_memory: Give batches in page-locked memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: DatasetConfig,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        pin_memory: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be 0 to {world_size - 1}, got {rank}.")
        self.dataset = dataset
        self._loaded = dataset
        if shuffle and config.long_examples == CUT:
            self._loaded = dataset.shortened(config.longest())
        self.position = Position()
        self.wait_seconds = 0.0
        """Time that `groups` has waited for data."""
        self._config = config
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._shuffle = shuffle
        self._order = (seed, shuffle)
        self._pin_memory = pin_memory
        self._plan = EpochPlan(dataset, config, seed, shuffle)
        self._begun: _BegunWindow | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the current position, from 1."""
        return self.position.epoch

    def groups(self, update_freq: int, per_update: int = 0) -> Iterator[Group]:
        """Yields this rank's part of each update from the position to the end of the epoch.

        The position moves by `advance` alone, so an update that was not finished is given again.

        Args:
            update_freq: Micro-batches of each rank, empty ones included.
            per_update: Micro-batches of an update over all ranks, at most world_size * update_freq,
                which it is if not given. What they lack is empty, on the last ranks.

        Raises:
            DataError: There is no example, none is left by the limits, or loading failed.
        """
        # The loader runs ahead of the groups that are given; tee keeps what lies between.
        planned, ahead = tee(self._planned_groups(update_freq, per_update))
        requests = (request for group in ahead for request in group.requests)
        batches = load_batches(self._loaded, requests, self._config, self._pin_memory)
        with closing(batches):
            for group in planned:
                began = time.monotonic()
                own = list(islice(batches, len(group.requests)))
                self.wait_seconds += time.monotonic() - began
                own += [self._empty_batch() for _ in range(update_freq - len(own))]
                yield Group(own, self._rank * update_freq, group.end, group.is_last)

    def advance(self, group: Group) -> None:
        """Makes the end of a group the current position: its update is finished."""
        self.position = group.end

    def num_batches(self) -> int:
        """Returns the micro-batches of an epoch over all ranks.

        Exact for one window; with several it is estimated from the current one.
        """
        if self._plan.num_windows == 0:
            return 0
        planned = len(self._batches(self.position.epoch, self.position.window))
        if self._plan.num_windows == 1:
            return planned
        in_window = self._plan.num_examples_in(self.position.epoch, self.position.window)
        return round(planned * len(self.dataset) / max(in_window, 1))

    def summary(self) -> BatchingSummary:
        """Returns what batching uses, leaves out and pads in the current epoch."""
        return self._plan.summary(self.position.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position and what it is relative to, as plain values."""
        identity = self._identity()
        begun = self._begun
        if begun and (begun.epoch, begun.window) == (self.position.epoch, self.position.window):
            identity["batching"] = dict(begun.settings)
        return {**asdict(self.position), **identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Moves to a saved position; nothing before it is loaded.

        Raises:
            DataError: The dataset is not the one of the saved position.
            ConfigError: The seed or a setting of batching is not; names both values. With
                `accept_changed_batching` settings may differ: they hold from the next window on.
            CheckpointError: The state is damaged.
        """
        batching = self._check_identity(state)
        position = Position(*(_count(state, name) for name in ("epoch", "window", "consumed")))
        if position.epoch < 1 or position.window >= max(self._plan.num_windows, 1):
            raise CheckpointError(f"The saved {position} is not in this data. {_DAMAGED}")
        self._begun = None
        if position.consumed:
            if batching != self._config.plan_settings():
                plan = EpochPlan(self.dataset, self._saved_config(batching), *self._order)
                self._begun = _BegunWindow(position.epoch, position.window, batching, plan)
            planned = len(self._batches(position.epoch, position.window))
            if position.consumed >= planned:
                raise CheckpointError(
                    f"The saved {position} is behind the window's {planned} micro-batches. "
                    f"{_DAMAGED}"
                )
        self.position = position

    def _planned_groups(self, update_freq: int, per_update: int) -> Iterator[_PlannedGroup]:
        epoch, size = self.position.epoch, per_update or self._world_size * update_freq
        begin = self._rank * update_freq
        stream = self._stream(self.position)
        current = list(islice(stream, size))
        if not current:
            raise DataError(self._nothing_left())
        while current:
            following = list(islice(stream, size))
            end = following[0][0] if following else Position(epoch + 1)
            own = [(indices, epoch) for _, indices in current[begin : begin + update_freq]]
            yield _PlannedGroup(own, end, is_last=not following)
            current = following

    def _stream(self, start: Position) -> Iterator[tuple[Position, IntArray]]:
        """Yields each micro-batch of the epoch from a position on, over all ranks."""
        consumed = start.consumed
        for window in range(start.window, self._plan.num_windows):
            batches = self._batches(start.epoch, window)
            for index in range(consumed, len(batches)):
                yield Position(start.epoch, window, index), batches[index]
            consumed = 0

    def _batches(self, epoch: int, window: int) -> list[IntArray]:
        begun = self._begun
        if begun is not None and (begun.epoch, begun.window) == (epoch, window):
            return begun.plan.window(epoch, window)
        return self._plan.window(epoch, window)

    def _empty_batch(self) -> Batch:
        batch = self.dataset.empty_batch()
        return batch.pin_memory() if self._pin_memory else batch

    def _nothing_left(self) -> str:
        if len(self.dataset) == 0:
            return "The dataset holds no examples. Check the files that it was made from."
        return (
            f"0 of {len(self.dataset)} examples are left. "
            f"{'; '.join(self.summary().lines()[1:])}. Raise the limits."
        )

    def _identity(self) -> dict[str, Any]:
        return {
            "fingerprint": self.dataset.fingerprint,
            "seed": self._seed,
            "shuffle": self._shuffle,
            "order": ORDER_VERSION,
            "batching": self._config.plan_settings(),
        }

    def _saved_config(self, batching: dict[str, Any]) -> DatasetConfig:
        try:
            return replace(self._config, **batching)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"The saved batching is not possible: {error} {_DAMAGED}"
            ) from error

    def _check_identity(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Refuses a state of other data or order; returns its settings of batching."""
        mine = self._identity()
        for name in mine:
            if name not in state:
                raise CheckpointError(f"The saved data position has no {name!r}. {_DAMAGED}")
        if state["fingerprint"] != mine["fingerprint"]:
            raise DataError(
                f"The data has changed: its fingerprint is {mine['fingerprint']}, the "
                f"checkpoint's is {state['fingerprint']}. Use the data of the checkpoint, or "
                "start a new run."
            )
        if state["order"] != ORDER_VERSION:
            raise CheckpointError(
                "This version of seqtrain draws the examples in another order than the one that "
                f"wrote the checkpoint (order {state['order']!r}, here {ORDER_VERSION}). Finish "
                "the run with that version, or begin a new one with checkpoint.init_from."
            )
        saved = state["batching"] if isinstance(state["batching"], Mapping) else {}
        # A setting that the writing version did not know had what is the default now.
        known = DatasetConfig().plan_settings() | dict(saved)
        saved = {name: known[name] for name in mine["batching"]}
        for name in ("seed", "shuffle"):
            _refuse_change(name, state[name], mine[name])
        fixed = {"window_size"}
        if CUT in (saved["long_examples"], self._config.long_examples):
            fixed |= CUT_SETTINGS
        for name, value in mine["batching"].items():
            if name in fixed or not self._config.accept_changed_batching:
                _refuse_change(f"dataset.{name}", saved[name], value, name not in fixed)
            elif type(saved[name]) is not type(value):
                raise CheckpointError(f"The saved {name} is {saved[name]!r}. {_DAMAGED}")
        return saved


def _refuse_change(name: str, was: object, now: object, may_accept: bool = False) -> None:
    if was == now:
        return
    accept = ""
    if may_accept:
        accept = ", or dataset.accept_changed_batching=true for the change to hold from now on"
    raise ConfigError(
        f"{name} is {now!r} and was {was!r} when the checkpoint was written, so the order of the "
        f"data would differ. Set {name}={was}{accept}, or start a new run."
    )


_DAMAGED = "The checkpoint is damaged or of another kind: use another one."


def _count(state: Mapping[str, Any], name: str) -> int:
    value = state.get(name)
    if type(value) is not int or value < 0:
        raise CheckpointError(f"The saved data position has {name}={value!r}. {_DAMAGED}")
    return value
