import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import run_in_processes
from strategy_runs import WITH_EVERYTHING, Sections, as_bytes, build, merged, train
from toy_run import write_toy_text

from seqtrain import pipeline
from seqtrain.checkpoint.average import Selection, average_checkpoints, select
from seqtrain.checkpoint.load import read_checkpoint, verify
from seqtrain.checkpoint.tree import trees_equal
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import CheckpointError

STATE = ("model", "optimizer", "trainer", "ema")
FIRST = "step-0000000003"
ON_TWO: dict[str, Sections] = {
    "ddp": {},
    "zero": {"distributed": {"shard_optimizer": True}},
    "fsdp": {"distributed": {"strategy": "fsdp"}},
    "tensor": {"distributed": {"tensor_parallel": 2}},
}
ON_FOUR: dict[str, Sections] = {
    "zero on four": {"distributed": {"shard_optimizer": True}},
    "fsdp on four": {"distributed": {"strategy": "fsdp"}},
    "fsdp and tensor": {"distributed": {"strategy": "fsdp", "tensor_parallel": 2}},
    "ddp and tensor": {"distributed": {"tensor_parallel": 2}},
}
SIZES: Sections = {"model": {"dim": 12, "ffn_dim": 20, "num_heads": 2}}
"""Of which four processes get uneven parts."""


def save_under_each(
    collectives: Collectives, text: Path, folder: Path, layouts: dict[str, Sections]
) -> dict[str, dict[str, bytes]]:
    """Loads the origin and saves it, then trains on and saves; returns the weights at the end."""
    weights = {}
    for name, sections in layouts.items():
        run = build(collectives, text, merged(WITH_EVERYTHING, SIZES, sections))
        trainer = run.trainer
        trainer.load_checkpoint(folder / "origin", print, lambda _: None)
        extra = read_checkpoint(folder / "origin" / FIRST, names=("config", "task")).parts
        for num_updates in (3, 4):
            weights[name] = train(run, num_updates).weights
            trainer.check_agreement()
            trainer.save_checkpoint(folder / name, extra, {})
            trainer.finish_save()
    return weights


def load_under_each(
    collectives: Collectives, text: Path, folder: Path, pairs: list[tuple[str, Sections]]
) -> list[dict[str, bytes]]:
    """Returns the weights that each layout gets from the newest checkpoint of another."""
    found = []
    for saved, sections in pairs:
        run = build(collectives, text, merged(WITH_EVERYTHING, SIZES, sections))
        run.trainer.load_checkpoint(folder / saved, print, lambda _: None)
        with run.trainer.whole_weights() as whole:
            found.append(as_bytes(whole))
    return found


CROSSED = [
    *((name, sections) for name in ON_FOUR for sections in ON_TWO.values()),
    *((name, ON_TWO["fsdp"]) for name in ON_TWO),
    *(("fsdp", sections) for sections in ON_TWO.values()),
]
"""What two processes load: who has saved it, and their own layout."""


def save_and_load(
    collectives: Collectives, text: Path, folder: Path
) -> tuple[dict[str, dict[str, bytes]], list[dict[str, bytes]]]:
    weights = save_under_each(collectives, text, folder, ON_TWO)
    return weights, load_under_each(collectives, text, folder, CROSSED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@dataclass(frozen=True)
class Saved:
    """The weights after the second save, by layout, and what two processes have loaded."""

    weights: dict[str, dict[str, bytes]]
    loaded: list[dict[str, bytes]]


@pytest.fixture(scope="module")
def saved(folder: Path) -> Saved:
    """What each layout has saved; the checkpoints lie in the folder."""
    text = write_toy_text(folder / "text")
    run = build(Collectives(), text, merged(WITH_EVERYTHING, SIZES))
    train(run, 3)
    parts = {"config": run.config.to_container(), "task": run.task.state_dict()}
    run.trainer.save_checkpoint(folder / "origin", parts, {})
    run.trainer.finish_save()
    four = run_in_processes(save_under_each, 4, text, folder, ON_FOUR, timeout_seconds=300.0)
    assert all(rank == four[0] for rank in four)
    first, second = run_in_processes(save_and_load, 2, text, folder, timeout_seconds=300.0)
    assert first == second
    return Saved(first[0] | four[0], first[1])


@pytest.mark.parametrize("name", [*ON_TWO, *ON_FOUR])
def test_a_state_that_was_loaded_and_saved_under_a_layout_is_the_same(
    folder: Path, saved: Saved, name: str
) -> None:
    origin = read_checkpoint(folder / "origin" / FIRST).parts
    again = read_checkpoint(folder / name / FIRST).parts
    for part in STATE:
        assert trees_equal(origin[part], again[part]), part
    embedding, output = (
        again["model"][f"decoder.{layer}.weight"] for layer in ("embed_tokens", "output_projection")
    )
    assert embedding is output


def test_parts_that_are_divided_are_in_a_file_for_each_rank(folder: Path, saved: Saved) -> None:
    def size(name: str, file: str) -> int:
        return (folder / name / FIRST / file).stat().st_size

    for rank in range(2):
        assert size("fsdp", f"model-rank-0000{rank}.safetensors") > 1000
        mine = size("zero", f"optimizer-rank-0000{rank}.safetensors")
        assert 0.4 < mine / size("ddp", "optimizer.safetensors") < 0.6
    assert not (folder / "fsdp" / FIRST / "model.safetensors").exists()
    assert (folder / "zero" / FIRST / "model.safetensors").exists()


def test_each_layout_loads_what_each_other_one_has_saved(folder: Path, saved: Saved) -> None:
    for (name, sections), loaded in zip(CROSSED, saved.loaded, strict=True):
        assert loaded == saved.weights[name], (name, sections)
    alone = [(name, Sections()) for name in (*ON_TWO, *ON_FOUR)]
    found = load_under_each(Collectives(), folder / "text", folder, alone)
    assert found == [saved.weights[name] for name, _ in alone]


def test_a_divided_checkpoint_is_read_for_use_like_any_other(folder: Path, saved: Saved) -> None:
    loaded = pipeline.load(folder / "fsdp" / FIRST, device="cpu")
    origin = pipeline.load(folder / "origin" / FIRST, device="cpu")
    assert as_bytes(loaded.model) == as_bytes(origin.model)
    assert loaded.translate(["a b c"]) == origin.translate(["a b c"])
    path = average_checkpoints(select(folder / "fsdp", Selection(last=2)), folder / "average")
    assert (path / "model.safetensors").exists()
    assert "model-rank-00000.safetensors" not in {entry.name for entry in path.iterdir()}
    averaged = read_checkpoint(path).parts["model"]
    name = "decoder.layer_norm.weight"
    ends = [read_checkpoint(p).parts["ema"]["model"] for p in (folder / "fsdp").iterdir()]
    assert averaged[name].tolist() == pytest.approx(
        sum(end[name].double() for end in ends).div(2).tolist()
    )


def test_a_divided_checkpoint_with_a_part_lost_or_changed_is_refused(
    folder: Path, saved: Saved
) -> None:
    path = folder / "zero" / FIRST
    verify(path)
    file = path / "optimizer-rank-00001.safetensors"
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(CheckpointError, match=r"optimizer-rank-00001.safetensors: missing"):
        read_checkpoint(path)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"optimizer-rank-00001.safetensors: damaged"):
        read_checkpoint(path)
    file.write_bytes(content)
    assert json.loads((path / "manifest.json").read_text())["world_size"] == 2
