"""profile=true: the table, the trace, and that training does not notice."""

import json
import time
from pathlib import Path

import pytest
import torch
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.pipeline import train
from seqtrain.training.profiling import PARTS, Breakdown, PartClock


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the same run three times: plain, profiled, and stopped early."""
    folder = tmp_path_factory.mktemp("runs")
    text = write_toy_text(folder / "text")
    for name, is_profiled, max_update in (
        ("plain", False, 32),
        ("profiled", True, 32),
        ("short", True, 8),
    ):
        train(
            toy_config(
                text,
                folder / name,
                profile=is_profiled,
                optimization={"max_update": max_update, "max_epoch": 0},
                validation={"splits": [], "test_split": ""},
            )
        )
    return folder


def test_a_profiled_run_writes_where_the_time_goes(runs: Path) -> None:
    folder = runs / "profiled" / "profile"
    breakdown = json.loads((folder / "breakdown.json").read_text())
    assert breakdown["num_updates"] == 20
    assert set(breakdown["seconds"]) == set(PARTS)
    assert all(seconds > 0 for seconds in breakdown["seconds"].values())
    text = (folder / "breakdown.txt").read_text()
    assert all(f"| {part} |" in text for part in PARTS)
    assert "aten::" in text
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    names = {event.get("name") for event in events}
    assert {f"part: {part}" for part in PARTS if part != "data"} <= names


def test_a_run_that_ends_early_leaves_the_table_of_what_it_did(runs: Path) -> None:
    folder = runs / "short" / "profile"
    assert json.loads((folder / "breakdown.json").read_text())["num_updates"] == 3
    assert not (folder / "trace.json").exists()


def test_measuring_changes_nothing(runs: Path) -> None:
    profiled, plain = final_state(runs / "profiled"), final_state(runs / "plain")
    assert profiled["trainer"] == plain["trainer"]
    for part in (lambda state: state["model"], lambda state: state["optimizer"]["slots"]):
        torch.testing.assert_close(part(profiled), part(plain), rtol=0, atol=0)
    assert history(runs / "profiled") == history(runs / "plain")
    assert not (runs / "plain" / "profile").exists()


def test_the_clock_counts_each_part_once_and_leaves_out_what_is_none() -> None:
    clock = PartClock(torch.device("cpu"))
    began = time.perf_counter()
    for part in ("forward", "backward", None, "forward", None):
        clock.enter(part)
        time.sleep(0.002)
    elapsed = time.perf_counter() - began
    assert clock.seconds["forward"] >= 0.004
    assert clock.seconds["backward"] >= 0.002
    assert sum(clock.seconds.values()) < elapsed - 0.003


def test_the_table_is_per_update() -> None:
    seconds = dict.fromkeys(PARTS, 0.0) | {"forward": 0.3, "backward": 0.1}
    table = Breakdown(num_updates=4, num_targets=80, seconds=seconds, threads=1).table()
    assert "4 updates, 1 threads: 100.00 ms an update, 200 targets a second" in table
    assert "| forward | 75.00 | 75.0 |" in table
