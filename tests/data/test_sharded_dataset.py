import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from epoch_streams import Stage, stream

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.dataset import Dataset
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.epoch_plan import EpochPlan
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.shard_manifest import (
    Shard,
    num_entries,
    open_shards,
    read_manifest,
    write_manifest,
)
from seqtrain.data.sharded_dataset import ShardedDataset
from seqtrain.data.token_blocks import TokenBlocks
from seqtrain.data.token_store import TokenStore, TokenStoreWriter
from seqtrain.errors import ConfigError, DataError

SIZES = [30, 5, 0, 44, 17, 25]


def write_shards(folder: Path, vocab_size: int = 50, sizes: Sequence[int] = SIZES) -> Path:
    prefixes = []
    for number, size in enumerate(sizes):
        generator = np.random.default_rng(number)
        shard = [folder / f"shard{number}" / f"train.{language}" for language in ("en", "de")]
        shard[0].parent.mkdir(parents=True)
        for prefix in shard:
            with TokenStoreWriter(prefix, vocab_size) as writer:
                for _ in range(size):
                    writer.append(generator.integers(4, 50, generator.integers(0, 9)))
        prefixes.append(shard)
    write_manifest(folder / "shards.json", prefixes)
    return folder / "shards.json"


def pairs(stores: Sequence[TokenStore]) -> Dataset:
    return PairDataset(stores[0], stores[1])


def source_blocks(stores: Sequence[TokenStore]) -> Dataset:
    return PairDataset(TokenBlocks(stores[0], 16))


def num_blocks(shard: Shard) -> int:
    return -(-(shard[0].num_tokens + shard[0].num_entries) // 16)


def test_nothing_is_opened_until_it_is_needed_and_few_are_open(tmp_path: Path) -> None:
    manifest = write_shards(tmp_path)
    dataset = open_shards(manifest, pairs, num_entries, max_open=2)
    assert len(dataset) == sum(SIZES)
    assert len(dataset.open_shards) == 0
    iterator = EpochIterator(dataset, DatasetConfig(max_tokens=60, window_size=32), 1)
    for group in iterator.groups(1):
        assert 0 < len(dataset.open_shards) <= 2
        iterator.advance(group)


def test_shards_are_opened_about_once_an_epoch(tmp_path: Path) -> None:
    opened: list[int] = []

    class Recorded(ShardedDataset):
        def __init__(self) -> None:
            inner = open_shards(write_shards(tmp_path), pairs, num_entries)

            def open_shard(number: int) -> Dataset:
                opened.append(number)
                return inner.open_shards.get(number)

            super().__init__(SIZES, ["x"] * len(SIZES), open_shard, max_open=2)

    iterator = EpochIterator(Recorded(), DatasetConfig(max_tokens=60, window_size=16), 1)
    for group in iterator.groups(1):
        iterator.advance(group)
    assert sorted(opened) == [0, 1, 3, 4, 5]


def test_the_order_of_shards_and_examples_is_another_one_in_each_epoch(tmp_path: Path) -> None:
    dataset = open_shards(write_shards(tmp_path), pairs, num_entries, max_open=4)
    plan = EpochPlan(dataset, DatasetConfig(max_tokens=60, window_size=32), 1, shuffle=True)
    begins = np.cumsum(SIZES) - SIZES
    shards = []
    for epoch in (1, 2, 3):
        seen: list[int] = []
        first_of: list[set[int]] = []
        for window in range(plan.num_windows):
            examples = np.concatenate([*plan.window(epoch, window), np.zeros(0, dtype=np.int64)])
            owners = np.searchsorted(begins, examples, side="right") - 1
            assert len(set(owners.tolist())) <= dataset.shards_at_once == 2
            first_of.append(set(owners.tolist()))
            seen += examples.tolist()
        assert sorted(seen) == list(range(sum(SIZES)))
        shards.append(first_of)
    assert shards[0] != shards[1] != shards[2]


def test_evaluation_takes_shards_as_they_stand(tmp_path: Path) -> None:
    dataset = open_shards(write_shards(tmp_path), pairs, num_entries, max_open=1)
    config = DatasetConfig(batch_size=1, window_size=1)
    iterator = EpochIterator(dataset, config, 1, shuffle=False)
    ids = [group.batches[0].ids.item() for group in iterator.groups(1)]
    assert ids == list(range(sum(SIZES)))


def test_a_run_on_shards_goes_on_in_another_process_with_other_ranks(tmp_path: Path) -> None:
    manifest = write_shards(tmp_path)
    config = DatasetConfig(max_tokens=60, window_size=24)

    def make() -> Dataset:
        made: Dataset = pickle.loads(pickle.dumps(open_shards(manifest, pairs, num_entries, 3)))
        return made

    stages = [Stage(3, 1, 2), Stage(1, 2, 3, num_workers=1), Stage(2, 1)]
    straight = stream(make, config, [Stage()])
    assert stream(make, config, stages) == straight
    for epoch in (1, 2):
        ids = [index for batch in straight if batch.epoch == epoch for index in batch.ids]
        assert sorted(ids) == list(range(sum(SIZES)))


def test_shards_of_blocks_and_cut_examples_are_shards_too(tmp_path: Path) -> None:
    manifest = write_shards(tmp_path)
    blocks = open_shards(manifest, source_blocks, num_blocks, max_open=2)
    assert len(blocks.lengths) == len(blocks)
    dataset = open_shards(manifest, pairs, num_entries, max_open=2)
    cut = dataset.shortened((4, 0))
    assert cut.lengths[:, 0].max() == 4
    assert cut.lengths[:, 1].max() > 4
    assert cut.fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match="Shard 0 holds 30 examples"):
        open_shards(manifest, pairs, num_blocks).lengths_at(np.array([0]))


def test_shards_behind_urls_are_copied_once(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    manifest = write_shards(tmp_path / "remote")
    url = f"file://{manifest}"
    with pytest.raises(DataError, match="give a folder for copies"):
        open_shards(url, pairs, num_entries)
    cache = tmp_path / "cache"
    far = open_shards(url, pairs, num_entries, max_open=2, cache=cache)
    assert not cache.exists()
    near = open_shards(manifest, pairs, num_entries, max_open=2)
    assert far.lengths_at(np.array([31, 0])).tolist() == near.lengths_at(np.array([31, 0])).tolist()
    assert len(list(cache.iterdir())) == 2 * 2 * 2
    assert far.fingerprint == near.fingerprint
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    open_shards(url, pairs, num_entries, cache=cache).lengths_at(np.array([0]))
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_a_shard_that_was_exchanged_is_refused_by_name(tmp_path: Path) -> None:
    manifest = write_shards(tmp_path)
    with TokenStoreWriter(tmp_path / "shard3" / "train.de", 50) as writer:
        writer.append_many([[7]] * 44)
    dataset = open_shards(manifest, pairs, num_entries)
    assert len(dataset.lengths_at(np.array([0]))) == 1
    with pytest.raises(DataError, match=r"shard3/train\.de: its fingerprint"):
        dataset.lengths_at(np.array([40]))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"kind": "x", "version": 1, "shards": []}',
     '{"kind": "seqtrain-shards", "version": 1, "shards": [[{"prefix": 3}]]}',
     '{"kind": "seqtrain-shards", "version": 1, "shards": 5}',
     '{"kind": "seqtrain-shards", "version": 1, "shards": []}'],
)  # fmt: skip
def test_a_damaged_manifest_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "shards.json").write_text(text)
    with pytest.raises(DataError, match=r"shards\.json: "):
        read_manifest(tmp_path / "shards.json")


def test_shards_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    manifest = write_shards(tmp_path)
    content = json.loads(manifest.read_text())
    content["shards"][1][0]["vocab_size"] = 51
    manifest.write_text(json.dumps(content))
    with pytest.raises(DataError, match="shard 1 has .*one vocabulary"):
        read_manifest(manifest)
    with pytest.raises(ConfigError, match="max_open=0"):
        ShardedDataset([1], ["x"], lambda number: PairDataset(TokenStore.from_sequences([], 9)), 0)
    with pytest.raises(DataError, match="0 sizes"):
        ShardedDataset([], [], lambda number: PairDataset(TokenStore.from_sequences([], 9)))
