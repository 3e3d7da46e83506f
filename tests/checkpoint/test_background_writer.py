import os
import sys
from pathlib import Path
from threading import get_native_id
from typing import Any

import pytest
import torch

from seqtrain.checkpoint.background_writer import CheckpointWriter
from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import CheckpointError, MachineError


def tree(fill: float) -> dict[str, Any]:
    weight = torch.full((300, 20), fill)
    return {
        "model": {"a": weight, "tied": weight, "view": torch.arange(6.0).view(2, 3).t()},
        "trainer": {"num_updates": 7, "flags": [True, None], "half": torch.ones(3).bfloat16()},
    }


def test_both_ways_write_the_same_bytes(tmp_path: Path) -> None:
    at_once = write_checkpoint(tmp_path / "at once", 7, tree(1.5), {"epoch": 2})
    writer = CheckpointWriter(Collectives(), in_background=True)
    writer.save(tmp_path / "background", 7, tree(1.5), {"epoch": 2})
    in_background = writer.finish()
    assert in_background is not None
    names = sorted(path.name for path in at_once.iterdir())
    assert names == sorted(path.name for path in in_background.iterdir())
    for name in set(names) - {"manifest.json"}:  # which tells the time
        assert (at_once / name).read_bytes() == (in_background / name).read_bytes()


def test_what_is_saved_is_the_state_at_the_call_whatever_happens_later(tmp_path: Path) -> None:
    writer = CheckpointWriter(Collectives(), in_background=True)
    parts = tree(1.0)
    for num_updates, value in ((1, 1.0), (2, 2.0)):  # the second save uses the first one's memory
        parts["model"]["a"].fill_(value)
        parts["trainer"]["flags"][0] = value
        writer.save(tmp_path, num_updates, parts, {})
        parts["model"]["a"].fill_(-1.0)
        parts["trainer"]["flags"][0] = "changed"
        path = writer.finish()
        assert path is not None
        loaded = read_checkpoint(path).parts
        assert loaded["model"]["a"].unique().tolist() == [value]
        assert loaded["model"]["tied"] is loaded["model"]["a"]
        assert loaded["trainer"]["flags"] == [value, None]


def test_an_error_is_raised_where_the_save_is_finished_and_the_next_save_works(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = CheckpointWriter(Collectives(), in_background=True)
    writer.save(tmp_path / "file" / "checkpoints", 1, tree(1.0), {})
    with pytest.raises((MachineError, CheckpointError), match="file"):
        writer.finish()
    assert not writer.is_busy
    writer.save(tmp_path / "checkpoints", 1, tree(1.0), {})
    assert writer.finish() == tmp_path / "checkpoints" / "step-0000000001"


def test_a_state_that_cannot_be_saved_is_told_when_it_is_finished(tmp_path: Path) -> None:
    writer = CheckpointWriter(Collectives(), in_background=True)
    writer.save(tmp_path, 1, {"model": {"bad": object()}}, {})
    with pytest.raises(CheckpointError, match="model/bad"):
        writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_finish_is_none_and_two_saves_at_a_time_are_a_mistake(tmp_path: Path) -> None:
    writer = CheckpointWriter(Collectives(), in_background=False)
    assert writer.finish() is None
    assert not writer.can_finish
    writer.save(tmp_path, 1, tree(1.0), {})
    assert writer.can_finish
    with pytest.raises(RuntimeError, match="not finished"):
        writer.save(tmp_path, 2, tree(1.0), {})


class WatchedCollectives(Collectives):
    """Notes how modest the thread is that speaks with the other ranks."""

    def gather_json(self, value: Any) -> list[Any]:
        self.niceness = os.getpriority(os.PRIO_PROCESS, get_native_id())
        return super().gather_json(value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_the_thread_that_writes_lets_training_go_before_it(tmp_path: Path) -> None:
    here = os.getpriority(os.PRIO_PROCESS, get_native_id())
    peers = WatchedCollectives()
    at_once = CheckpointWriter(peers, in_background=False)
    at_once.save(tmp_path, 1, tree(1.0), {})
    assert peers.niceness == here
    in_background = CheckpointWriter(peers, in_background=True)
    in_background.save(tmp_path, 2, tree(1.0), {})
    in_background.finish()
    assert peers.niceness > here or here == 19
    assert os.getpriority(os.PRIO_PROCESS, get_native_id()) == here
