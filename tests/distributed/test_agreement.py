import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_in_processes
from torch.profiler import ProfilerActivity, profile
from toy_run import toy_config, write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import DistributedError
from seqtrain.files import RunLock
from seqtrain.plugins import load_plugins
from seqtrain.training import agreement
from seqtrain.training.agreement import (
    require_same_data,
    require_same_directory,
    require_same_settings,
)
from seqtrain.training.build import build_run, build_task
from seqtrain.training.run_config import RunConfig

PLUGIN = {"name": "my_model", "version": "1.0", "sha256": "ab"}


def config_for(folder: str, **sections: Any) -> RunConfig:
    load_plugins([])
    return RunConfig.parse(toy_config(Path(folder) / "text", Path(folder) / "run", **sections))


def message_of(collectives: Collectives, what: str, folder: str) -> str:
    """Returns what a rank is told where the last rank differs in one respect."""
    is_odd = collectives.rank == collectives.world_size - 1
    seed = {"seed": 4} if what == "settings" and is_odd else {}
    config = config_for(folder, **seed)
    plugin = PLUGIN | ({"version": "1.1"} if what == "plug-in" and is_odd else {})
    if what == "data" and is_odd:
        config = config_for(f"{folder}/other")
    try:
        if what == "data":
            require_same_data(config, build_task(config), collectives)
        else:
            require_same_settings(config, {"plugins": [plugin]}, collectives)
    except DistributedError as error:
        return str(error)
    return "nothing"


def test_ranks_that_differ_are_told_in_what_with_both_sides(tmp_path: Path) -> None:
    write_toy_text(tmp_path / "text")
    other = write_toy_text(tmp_path / "other" / "text")
    lines = (other / "valid.y").read_text().splitlines(keepends=True)
    (other / "valid.y").write_text("".join([*lines[:-1], "a b\n"]))
    expected = {
        "settings": "disagree on the configuration at seed. rank 0: 3; rank 1: 4.",
        "plug-in": "disagree on the installed code at plugins.my_model.version. "
        'rank 0: "1.0"; rank 1: "1.1".',
        "data": "disagree on the data (fingerprints) at examples.valid. rank 0: ",
    }
    for what, part in expected.items():
        for message in run_in_processes(message_of, 2, what, str(tmp_path)):
            assert part in message


def see_directory(collectives: Collectives, folder: str, seconds: float) -> str:
    """Looks for the run directory below a folder of this rank's own, as on machines of its own."""
    agreement.SECONDS_TO_SEE = seconds
    run_dir = Path(folder) / (f"machine-{collectives.rank}" if seconds < 1 else "shared") / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        if collectives.rank == 0:
            with RunLock(run_dir):
                require_same_directory(run_dir, collectives)
        else:
            require_same_directory(run_dir, collectives)
    except DistributedError as error:
        return str(error)
    return ""


def test_a_machine_that_does_not_see_the_run_directory_is_named(tmp_path: Path) -> None:
    for message in run_in_processes(see_directory, 2, str(tmp_path), 0.3):
        assert message.startswith(f"rank 1 on {socket.gethostname()} cannot see the run directory")
        assert f"{tmp_path}/machine-0/run of rank 0" in message
        assert "on a disk that all machines share" in message
    assert run_in_processes(see_directory, 2, str(tmp_path), 20.0) == ["", ""]


def collectives_of_updates(collectives: Collectives, folder: str, is_tree: bool) -> list[str]:
    """Returns the collectives of three updates, buckets of gradients among them."""
    os.environ["SEQTRAIN_DISABLE_PLUGINS"] = "1"
    config = config_for(folder, distributed={"deterministic_elastic": is_tree})
    run = build_run(config, collectives, torch.device("cpu"))
    updates = run.trainer.train_epoch(run.iterator)
    for _ in range(2):  # the first one finds out the order of the gradients, the second takes it
        next(updates)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(3):
            next(updates)
    return [event.name for event in found.events() if event.name.startswith("c10d::")]


@pytest.mark.parametrize(
    ("is_tree", "expected"),
    [
        (False, {"c10d::allreduce_": 3 * 2}),  # one bucket of gradients, one vector of all sums
        (True, {"c10d::allreduce_": 3, "c10d::alltoall_base_": 3, "c10d::allgather_": 3}),
    ],
)
def test_an_update_has_one_collective_for_all_its_sums_and_those_of_its_gradients(
    tmp_path: Path, is_tree: bool, expected: dict[str, int]
) -> None:
    write_toy_text(tmp_path / "text")
    for names in run_in_processes(collectives_of_updates, 2, str(tmp_path), is_tree):
        assert {name: names.count(name) for name in set(names)} == expected
