from pathlib import Path
from typing import Any

import pytest
from toy_run import toy_config, write_toy_text

from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.errors import ConfigError
from seqtrain.plugins import load_plugins
from seqtrain.training.build import build_task
from seqtrain.training.run_config import RunConfig
from seqtrain.training.update_share import UpdateShare, share_of_update


def config_with(folder: Path, is_tree: bool = False, **optimization: Any) -> RunConfig:
    load_plugins([])
    sections: dict[str, Any] = {
        "optimization": optimization,
        "distributed": {"deterministic_elastic": is_tree},
        "dataset": {"max_tokens": 12},
    }
    return RunConfig.parse(toy_config(folder, folder / "run", **sections))


@pytest.mark.parametrize(
    ("total", "world_size", "is_tree", "own"),
    [
        (16, 1, False, 16),
        (16, 3, False, 6),
        (16, 3, True, 8),
        (4, 3, True, 2),
        (4, 8, True, 1),
        (6, 1, True, 6),
        (6, 2, True, 4),
    ],
)
def test_an_update_of_a_given_size_is_shared_out_in_powers_of_two_for_the_tree(
    tmp_path: Path, total: int, world_size: int, is_tree: bool, own: int
) -> None:
    config = config_with(tmp_path, is_tree, micro_batches_per_update=total)
    assert share_of_update(config, world_size) == UpdateShare(own, total)


def test_without_a_given_size_every_process_takes_update_freq(tmp_path: Path) -> None:
    config = config_with(tmp_path, update_freq=3)
    assert share_of_update(config, 2) == UpdateShare(3, 6)


def test_a_share_that_has_no_place_in_the_tree_is_refused(tmp_path: Path) -> None:
    config = config_with(tmp_path, True, update_freq=3)
    assert share_of_update(config, 1) == UpdateShare(3, 3)
    with pytest.raises(ConfigError, match=r"optimization.update_freq must be a power of two .* 3"):
        share_of_update(config, 2)


def test_two_ways_to_say_the_size_of_an_update_contradict(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes the place of update_freq: got 4 and 2"):
        config_with(tmp_path, micro_batches_per_update=4, update_freq=2)


@pytest.mark.parametrize("is_tree", [False, True])
def test_updates_of_a_given_size_hold_the_same_examples_on_any_number_of_processes(
    tmp_path: Path, is_tree: bool
) -> None:
    write_toy_text(tmp_path)
    config = config_with(tmp_path, is_tree, micro_batches_per_update=5)
    dataset = build_task(config).dataset("train")
    updates = {}
    for world_size in (1, 2, 3, 4, 7):
        share = share_of_update(config, world_size)
        ranks = [
            EpochIterator(dataset, config.dataset, 3, rank, world_size).groups(
                share.own, share.total
            )
            for rank in range(world_size)
        ]
        updates[world_size] = [
            [i for group in groups for batch in group.batches for i in batch.ids.tolist()]
            for groups in zip(*ranks, strict=True)
        ]
    assert sorted(i for update in updates[1] for i in update) == list(range(48))
    assert all(found == updates[1] for found in updates.values())
