import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typing_extensions import override

from seqtrain import rng
from seqtrain.batch import Batch
from seqtrain.data.batch_loader import Request, load_batches
from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.errors import DataError

KILL, FAIL, HANG = 101, 102, 103


class Faulty(Dataset):
    """Targets are the epoch; some indices are trouble."""

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return np.ones((200, 1), dtype=np.int32)

    @property
    @override
    def fingerprint(self) -> str:
        return "faulty"

    @override
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        if KILL in indices:
            os.kill(os.getpid(), signal.SIGKILL)
        if FAIL in indices:
            raise KeyError("no such entry")
        if HANG in indices:
            time.sleep(3.0)
        return Batch(
            inputs={},
            targets=torch.full((len(indices),), epoch),
            ids=torch.from_numpy(indices),
            num_targets=len(indices),
        )

    @override
    def empty_batch(self) -> Batch:
        return self.batch(np.zeros(0, dtype=np.int64), 0)


def requests(*starts: int, epoch: int = 1) -> Iterator[Request]:
    return ((np.array([start, start + 5]), epoch) for start in starts)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_epoch_reaches_whoever_loads(num_workers: int) -> None:
    config = DatasetConfig(num_workers=num_workers)
    for epoch in (1, 2):
        batches = list(load_batches(Faulty(), requests(1, 2, 3, epoch=epoch), config))
        assert [batch.targets.tolist() for batch in batches] == [[epoch] * 2] * 3
        assert [batch.ids.tolist() for batch in batches] == [[1, 6], [2, 7], [3, 8]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_names_the_examples_in_one_line(num_workers: int) -> None:
    config = DatasetConfig(num_workers=num_workers)
    loading = load_batches(Faulty(), requests(1, FAIL, 3), config)
    assert next(loading).ids.tolist() == [1, 6]
    with pytest.raises(DataError, match=r"examples 102 to 107 \(2 of them.*KeyError") as caught:
        next(loading)
    assert "\n" not in str(caught.value)


def test_a_killed_worker_is_reported_with_its_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqtrain.data.batch_loader.POLL_SECONDS", 0.5)
    loading = load_batches(Faulty(), requests(KILL), DatasetConfig(num_workers=1))
    with pytest.raises(DataError, match=r"worker died .* the next of examples 101 to 106"):
        next(loading)


def test_a_hanging_worker_is_reported_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqtrain.data.batch_loader.POLL_SECONDS", 0.2)
    config = DatasetConfig(num_workers=1, timeout_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"examples 103 to 108.*timeout_seconds=0\.5"):
        next(load_batches(Faulty(), requests(HANG), config))
    assert time.monotonic() - began < 2.0


def states() -> list[str]:
    tensors, plain = rng.capture()
    return [repr({name: value.tolist() for name, value in tensors.items()}), repr(plain)]


def test_loading_draws_from_no_global_generator() -> None:
    before = states()
    for num_workers in (0, 1):
        list(load_batches(Faulty(), requests(1, 2), DatasetConfig(num_workers=num_workers)))
    assert states() == before


def test_closing_stops_the_workers_and_leaves_the_signal_handler_alone() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    children = set(multiprocessing.active_children())
    loading = load_batches(Faulty(), requests(*range(50)), DatasetConfig(num_workers=2))
    next(loading)
    assert len(set(multiprocessing.active_children()) - children) == 2
    loading.close()
    assert set(multiprocessing.active_children()) == children
    assert signal.getsignal(signal.SIGCHLD) is before


def test_workers_start_once_for_all_batches(tmp_path: Path) -> None:
    class Signed(Faulty):
        @override
        def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
            (tmp_path / str(os.getpid())).touch()
            return super().batch(indices, epoch)

    list(load_batches(Signed(), requests(*range(40)), DatasetConfig(num_workers=2)))
    assert len(list(tmp_path.iterdir())) == 2
