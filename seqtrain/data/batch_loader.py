"""Loads batches one after the other, in this process or ahead in workers."""

import multiprocessing
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from seqtrain.batch import Batch
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.errors import DataError, MachineError

Request = tuple[npt.NDArray[np.int64], int]
POLL_SECONDS = 5.0


def load_batches(
    dataset: Dataset, requests: Iterable[Request], config: DatasetConfig, pin_memory: bool = False
) -> Generator[Batch, None, None]:
    """Yields the batch of each request, in order, the same for any number of workers.

    The epoch travels with the request, so workers never use an old one. No global random state
    is drawn from.

    Args:
        dataset: What makes a batch of indices and epoch.
        requests: (example indices, epoch) of each batch.
        config: Number of workers, prefetch and timeout.
        pin_memory: Give batches in page-locked memory.

    Raises:
        DataError: Loading failed, a worker died or hangs; the message names the examples.
    """
    if config.num_workers > 0:
        return _from_workers(dataset, requests, config, pin_memory)
    return _from_here(dataset, requests, pin_memory)


def _from_here(
    dataset: Dataset, requests: Iterable[Request], pin_memory: bool
) -> Generator[Batch, None, None]:
    for indices, epoch in requests:
        try:
            batch = dataset.batch(indices, epoch)
        except Exception as error:
            raise DataError(_describe(error, indices)) from error
        yield batch.pin_memory() if pin_memory else batch


def _from_workers(
    dataset: Dataset, requests: Iterable[Request], config: DatasetConfig, pin_memory: bool
) -> Generator[Batch, None, None]:
    sent: deque[Request] = deque()
    timeout = config.timeout_seconds
    loader = DataLoader(
        _Loading(dataset),
        batch_size=None,
        sampler=_recorded(requests, sent),
        num_workers=config.num_workers,
        prefetch_factor=config.prefetch,
        pin_memory=pin_memory,
        collate_fn=_unchanged,
        timeout=min(POLL_SECONDS, timeout or POLL_SECONDS),
        generator=torch.Generator(),
        worker_init_fn=_start_worker,
        multiprocessing_context="fork" if _can_fork() else None,
    )
    try:
        iterator, workers = _start(loader)
    except OSError as error:
        raise MachineError(
            f"{config.num_workers} data workers cannot be started: {error.strerror}. Use fewer "
            "(dataset.num_workers, 0 for none), or raise the limit: of processes or open files "
            "with ulimit, of shared memory by the size of /dev/shm."
        ) from error
    try:
        while (result := _next_result(iterator, sent, timeout)) is not None:
            sent.popleft()
            if isinstance(result, _Failure):
                raise DataError(result.message) from RuntimeError(result.traceback)
            yield result
    except DataError:
        # torch would wait for each worker to answer; one that hangs does not.
        for worker in workers:
            worker.kill()
        raise


@dataclass(frozen=True)
class _Failure:
    """An exception in a worker, as text: the message for people, the rest for debugging."""

    message: str
    traceback: str


class _Loading(TorchDataset[Batch | _Failure]):
    """A dataset whose "index" is a request."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, request: Request) -> Batch | _Failure:
        indices, epoch = request
        try:
            return self._dataset.batch(indices, epoch)
        except Exception as error:
            return _Failure(_describe(error, indices), traceback.format_exc())


def _next_result(
    iterator: Iterator[Batch | _Failure], sent: deque[Request], timeout_seconds: float
) -> Batch | _Failure | None:
    began = time.monotonic()
    while True:
        try:
            return next(iterator, None)
        except RuntimeError as error:
            what = _name(sent[0][0]) if sent else "the first batch"
            if "timed out" not in str(error):
                raise DataError(
                    f"A data worker died while {len(sent)} batches were being loaded, the next "
                    f"of {what}. It may be out of memory; dataset.num_workers=0 shows other "
                    "causes."
                ) from error
            # torch polls in short steps, so that a dead worker is noticed long before a slow one.
            if timeout_seconds and time.monotonic() - began >= timeout_seconds:
                raise DataError(
                    f"Loading {what} took longer than dataset.timeout_seconds="
                    f"{timeout_seconds:g}. Raise it, or find what hangs with "
                    "dataset.num_workers=0."
                ) from error


def _recorded(requests: Iterable[Request], sent: deque[Request]) -> Iterator[Request]:
    for request in requests:
        sent.append(request)
        yield request


def _start(
    loader: "DataLoader[Batch | _Failure]",
) -> tuple[Iterator[Batch | _Failure], set[BaseProcess]]:
    """Starts the workers, but not torch's SIGCHLD handler.

    It would raise in the midst of any code of this process, a checkpoint's commit included.
    Dead workers are found while waiting for a batch instead.
    """
    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGCHLD)
    others = set(multiprocessing.active_children())
    iterator = iter(loader)
    if is_main and previous is not None:
        signal.signal(signal.SIGCHLD, previous)
    return iterator, set(multiprocessing.active_children()) - others


def _start_worker(worker_index: int) -> None:
    # A worker inherits the handlers of the training process: Ctrl-C is for that one alone, and
    # a stop request that only sets a flag would keep a worker alive.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _can_fork() -> bool:
    # Forked workers know plug-in datasets and open maps without importing anything.
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


def _unchanged(result: Any) -> Any:
    return result


def _name(indices: npt.NDArray[np.int64]) -> str:
    first = ", ".join(str(index) for index in indices[:3].tolist())
    return f"examples {indices.min()} to {indices.max()} ({len(indices)} of them: {first}, ...)"


def _describe(error: Exception, indices: npt.NDArray[np.int64]) -> str:
    kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
    return f"Cannot load {_name(indices)}: {kind}{error}"
