import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.layout import step_name
from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.checkpoint.retention import (
    apply_retention,
    best_checkpoint,
    clean_leftovers,
    record_score,
)
from seqtrain.errors import CheckpointError, ConfigError

HEX = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is not what these tests are about, and it takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def save(directory: Path, *counts: int) -> None:
    for count in counts:
        write_checkpoint(directory, count, {"trainer": {"n": count}}, {})


def score(directory: Path, count: int, value: float, maximize: bool = False) -> bool:
    return record_score(directory, step_name(count), "loss", value, maximize)


def kept(directory: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in directory.glob("step-*"))


def best(directory: Path) -> int | None:
    path = best_checkpoint(directory)
    return None if path is None else int(path.name[5:])


def test_newest_best_and_every_nth_are_kept(tmp_path: Path) -> None:
    save(tmp_path, *range(1, 11))
    for count in range(1, 11):
        score(tmp_path, count, abs(count - 3.4))  # 3, 4, 2, 5 ... from the best on
    deleted = apply_retention(tmp_path, keep_last=2, keep_best=2, keep_every=5)
    assert kept(tmp_path) == [3, 4, 5, 9, 10]
    assert deleted == [step_name(count) for count in (8, 7, 6, 2, 1)]
    assert len(os.listdir(tmp_path)) == 6  # noqa: PTH208 # hidden names count


def test_best_ones_do_not_count_among_the_last(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4)
    score(tmp_path, 4, 0.0)
    apply_retention(tmp_path, keep_last=2, keep_best=1)
    assert kept(tmp_path) == [2, 3, 4]


def test_the_best_is_kept_even_if_none_shall_be(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4)
    score(tmp_path, 1, 0.0)
    apply_retention(tmp_path, keep_last=2, keep_best=0)
    assert kept(tmp_path) == [1, 3, 4]


def test_damaged_checkpoints_displace_no_good_ones_and_stay(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, 5)
    for count in (4, 5):
        (tmp_path / step_name(count) / "trainer.json").unlink()
    score(tmp_path, 5, 0.0)
    apply_retention(tmp_path, keep_last=2, keep_best=1)
    assert kept(tmp_path) == [2, 3, 4, 5]


def test_names_that_are_not_ours_are_never_touched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    save(victim, 1)
    directory = tmp_path / "checkpoints"
    save(directory, 2, 3, 4)
    own = directory / "my-favourite"
    (directory / step_name(2)).rename(own)
    (directory / step_name(1)).symlink_to(victim / step_name(1))
    foreign = [f".tmp-{step_name(9)}", f".tmp-{step_name(9)}-{HEX}x", ".trash-x", ".tmp-x", "tmp"]
    for name in foreign:
        (directory / name).mkdir()
    assert apply_retention(directory, keep_last=2, keep_best=1) == []
    assert clean_leftovers(directory) == []
    names = {path.name for path in directory.iterdir()}
    assert names == {own.name, *foreign, *map(step_name, (1, 3, 4))}
    assert read_checkpoint(victim / step_name(1)).manifest.num_updates == 1


def test_leftovers_are_removed_and_links_among_them_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    directory = tmp_path / "checkpoints"
    save(directory, 1)
    unfinished, trash = f".tmp-{step_name(2)}-{HEX}", f".trash-{step_name(1)}-{HEX}"
    (directory / unfinished).mkdir()
    (directory / unfinished / "model.json").touch()
    (directory / unfinished / "link").symlink_to(victim)
    (directory / trash).symlink_to(victim)
    (directory / f".tmp-best.json-{HEX}").touch()
    assert clean_leftovers(directory) == [f".tmp-best.json-{HEX}", unfinished, trash]
    assert [path.name for path in directory.iterdir()] == [step_name(1)]
    assert (victim / "file").exists()
    assert clean_leftovers(tmp_path / "absent") == []


@pytest.mark.parametrize("counts", [(1, 1, 0), (2, -1, 0), (2, 1, -1)])
def test_counts_that_could_delete_too_much_are_refused(
    tmp_path: Path, counts: tuple[int, int, int]
) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint\.keep_"):
        apply_retention(tmp_path, *counts)


def test_score_decides_in_both_directions_and_ties_go_to_the_older(tmp_path: Path) -> None:
    save(tmp_path / "a", 1, 2, 3)
    assert [score(tmp_path / "a", n, v) for n, v in ((1, 2.0), (2, 1.0), (3, 1.0))] == [
        True, True, False,
    ]  # fmt: skip
    assert best(tmp_path / "a") == 2
    save(tmp_path / "b", 1, 2, 3)
    for count, value in ((1, 2.0), (2, 1.0), (3, 2.0)):
        score(tmp_path / "b", count, value, maximize=True)
    assert best(tmp_path / "b") == 1


def test_best_json_says_name_score_and_ranking(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    score(tmp_path, 1, 0.5)
    score(tmp_path, 2, 0.25)
    content = json.loads((tmp_path / "best.json").read_text())
    assert content["name"] == step_name(2)
    assert content["score"] == 0.25
    assert content["metric"] == "loss"
    assert [row["name"] for row in content["ranking"]] == [step_name(2), step_name(1)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_score_that_is_not_finite_is_never_the_best(tmp_path: Path, value: float) -> None:
    save(tmp_path, 1)
    for maximize in (True, False):
        assert not score(tmp_path, 1, value, maximize)
    assert best_checkpoint(tmp_path) is None


def test_recording_again_gives_the_same(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    for _ in range(2):
        assert score(tmp_path, 1, 2.0)
        assert score(tmp_path, 2, 1.0)
    assert best(tmp_path) == 2


def test_scores_of_an_abandoned_future_are_forgotten(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    for count, value in ((1, 3.0), (3, 1.0), (2, 2.0)):
        score(tmp_path, count, value)
    assert best(tmp_path) == 2


def test_another_metric_begins_a_new_ranking(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    score(tmp_path, 1, 0.1)
    assert record_score(tmp_path, step_name(2), "bleu", 5.0, True)
    assert best(tmp_path) == 2


def test_deleted_checkpoints_leave_the_ranking(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    score(tmp_path, 1, 0.1)
    (tmp_path / step_name(1)).rename(tmp_path / "moved")
    assert best_checkpoint(tmp_path) is None
    assert score(tmp_path, 2, 0.2)


@pytest.mark.parametrize("name", ["x", "step-0000000009", "../step-0000000001", ""])
def test_only_checkpoints_can_be_ranked(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be ranked"):
        record_score(tmp_path, name, "loss", 1.0, False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"name":"../x","score":1.0,"metric":"m","maximize":true,'
        b'"ranking":[{"name":"../x","score":1.0}]}',
        b'{"name":"step-0000000001","score":1.0,"metric":"m","maximize":true,"ranking":[]}',
        b'{"name":"step-0000000001","score":1.0,"metric":"m","maximize":true,'
        b'"ranking":[{"name":"step-0000000001","score":true}]}',
        b'{"name":"step-0000000002","score":1.0,"metric":"m","maximize":true,'
        b'"ranking":[{"name":"step-0000000001","score":1}]}',
        b"\x80\x04pickle",
    ],
)
def test_ranking_that_is_not_ours_is_refused_and_deletes_nothing(
    tmp_path: Path, content: bytes
) -> None:
    save(tmp_path, 1, 2, 3)
    (tmp_path / "best.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.json"):
        apply_retention(tmp_path, keep_last=2, keep_best=1)
    with pytest.raises(CheckpointError, match=r"best\.json"):
        best_checkpoint(tmp_path)
    assert kept(tmp_path) == [1, 2, 3]


@given(
    scores=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    keep_last=st.integers(2, 3),
    keep_best=st.integers(0, 3),
)
@settings(max_examples=15, deadline=None)
def test_retention_after_each_save_ends_with_the_very_best_and_the_newest(
    tmp_path_factory: pytest.TempPathFactory, scores: list[int], keep_last: int, keep_best: int
) -> None:
    directory = tmp_path_factory.mktemp("checkpoints")
    for count, value in enumerate(scores):
        save(directory, count)
        score(directory, count, value)
        apply_retention(directory, keep_last, keep_best)
    ranked = sorted(range(len(scores)), key=lambda count: (scores[count], count))
    top = ranked[: max(keep_best, 1)]
    assert best(directory) == ranked[0]
    assert set(top) <= set(kept(directory))
    assert len(scores) - 1 in kept(directory)
    assert len(kept(directory)) == min(len(scores), len(top) + keep_last)
