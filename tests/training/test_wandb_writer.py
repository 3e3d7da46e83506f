"""The writer for Weights & Biases, read back from the files that it leaves."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqtrain.errors import CheckpointError, ConfigError, MachineError

pytest.importorskip("wandb", reason="wandb is not installed: pip install 'seqtrain[wandb]'")

from wandb.proto import wandb_internal_pb2

from seqtrain.training.log_writers.wandb import WandbConfig, WandbWriter


def offline(run_dir: Path, state: dict[str, Any] | None = None) -> WandbWriter:
    return WandbWriter(WandbConfig(mode="offline"), run_dir, state)


def chunks(content: bytes) -> Iterator[bytes]:
    """Yields the records of a log in the layout of LevelDB, after wandb's header of 7 bytes."""
    position, parts = 7, []
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:  # the rest of a block is too short for a header
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def records(run_dir: Path) -> list[Any]:
    """Returns the records of every process of the run, oldest first."""
    found = []
    for path in sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb")):
        for data in chunks(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found.append(record)
    return found


def rows(run_dir: Path) -> list[dict[str, Any]]:
    histories = [record.history for record in records(run_dir) if record.HasField("history")]
    items = [{(i.key or "/".join(i.nested_key)): i.value_json for i in h.item} for h in histories]
    return [{k: json.loads(v) for k, v in row.items() if k[0] != "_"} for row in items]


def test_rows_and_settings_are_in_its_file_and_a_resumed_run_keeps_its_name(
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "my_run"
    run_dir.mkdir()
    config = {"seed": 3, "model": {"name": "lstm", "dim": 8}, "plugins": ["a"]}
    (run_dir / "config.json").write_text(json.dumps(config))
    first = offline(run_dir)
    first.write("train", 10, {"train_loss": 0.5, "note": "text"})
    first.write("valid", 10, {"valid_ppl": 2.5})
    state = json.loads(json.dumps(first.state_dict()))
    first.close()
    second = offline(run_dir, state)
    second.write("train", 20, {"train_loss": 0.25})
    second.close()
    assert rows(run_dir) == [
        {"train/loss": 0.5, "train/note": "text", "num_updates": 10},
        {"valid/ppl": 2.5, "num_updates": 10},
        {"train/loss": 0.25, "num_updates": 20},
    ]
    runs = [record.run for record in records(run_dir) if record.HasField("run")]
    assert {run.run_id for run in runs} == {state["id"]}
    assert {(run.project, run.display_name) for run in runs} == {("seqtrain", "my_run")}
    settings = [record.config for record in records(run_dir) if record.HasField("config")]
    updates = {(u.key or u.nested_key[0]): u.value_json for c in settings for u in c.update}
    expected = {"seed": "3", "model.name": '"lstm"', "model.dim": "8"}
    assert expected.items() <= updates.items()


def test_what_it_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log_writer\.wandb\.mode must be online, offline"):
        WandbConfig(mode="sometimes")
    with pytest.raises(CheckpointError, match="name of the wandb run is '../x'"):
        offline(tmp_path, {"id": "../x"})
    (tmp_path / "wandb").symlink_to("/tmp")
    with pytest.raises(MachineError, match="is a link"):
        offline(tmp_path)
