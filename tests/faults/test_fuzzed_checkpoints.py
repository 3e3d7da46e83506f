"""Checkpoints with valid checksums and damaged content: refused in one line that names them."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bounded_cases import Case, require_documented, run_cases
from foreign_checkpoints import resign, with_json
from toy_run import toy_config, write_toy_text

from seqtrain.checkpoint.layout import committed
from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.errors import CheckpointError
from seqtrain.pipeline import load, train
from seqtrain_cli.info_pages import pages

torch.set_num_threads(1)

JUNK: list[Any] = [None, True, -1, 0, 1, 2**31, 2**63, 1.5, -1e308, "", "x", "$tensor", [], {}, [1],
                   {"$tensor": "x"}, {"$float": "nan"}, {"$tuple": []}, {"a": {"b": []}},
                   "../../etc/passwd", ["a", 1], "${oc.env:HOME}", "nan"]  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the paths of all values in a JSON tree but the whole."""
    if not isinstance(tree, dict | list):
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        yield from places(value, (*path, key))


def mutate(rng: random.Random, tree: Any) -> str:
    """Changes something in a tree; returns what."""
    found = list(places(tree))
    if not found:
        return "nothing"
    short = [path for path in found if len(path) <= 2]
    path = rng.choice(short if rng.random() < 0.5 else found)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    where = ".".join(map(str, path))
    if rng.random() < 0.35:
        del parent[path[-1]]
        return f"without {where}"
    value = rng.choice(JUNK)
    parent[path[-1]] = value
    return f"{where} = {value!r}"


def retype_tensor(rng: random.Random, file: Path) -> str:
    """Gives a tensor another type or shape of the same size, or another name."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = rng.choice([key for key in header if key != "__metadata__"])
    kind = rng.choice(["dtype", "shape", "name"])
    if kind == "dtype":
        header[name]["dtype"] = {"F32": "I32", "I64": "F64", "U8": "I8"}[header[name]["dtype"]]
    elif kind == "shape":
        size = 1
        for extent in header[name]["shape"]:
            size *= extent
        header[name]["shape"] = rng.choice([[size], [1, size], [size, 1]])
    else:
        header[f"{name}.other"] = header.pop(name)
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return f"{kind} of {name}"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with two checkpoints."""
    folder = tmp_path_factory.mktemp("fuzzed")
    write_toy_text(folder / "text")
    train(config_of(folder / "text", folder / "run", max_update=4))
    return folder / "run"


def config_of(text: Path, run_dir: Path, max_update: int = 5) -> dict[str, Any]:
    return toy_config(
        text,
        run_dir,
        ema={"kind": "ema", "decay": 0.9},
        optimization={"max_update": max_update},
        validation={"test_split": "", "validate_interval_updates": 2},
        dataset={"num_workers": 0},
    )


def cases_of(run_dir: Path, folder: Path, count: int, seed: int) -> Iterator[Case]:
    rng = random.Random(seed)
    (newest, *_) = committed(run_dir / "checkpoints")
    parts = sorted(file.name for file in newest.glob("*.json") if file.name != "manifest.json")
    for number in range(count):
        shutil.rmtree(folder / "run", ignore_errors=True)
        target = folder / "run" / "checkpoints" / newest.name
        shutil.copytree(newest, target)
        if rng.random() < 0.15:
            what = retype_tensor(rng, rng.choice(sorted(target.glob("*.safetensors"))))
        else:
            part = rng.choice(parts)
            changes: list[str] = []

            def change(tree: Any, changes: list[str] = changes) -> None:
                changes += [mutate(rng, tree) for _ in range(rng.choice([1, 1, 2]))]

            with_json(target / part, change)
            what = f"{part}: {'; '.join(changes)}"
        resign(target)
        config = config_of(run_dir.parent / "text", folder / "run")
        for verb, use in uses(target, config):
            yield f"{number} {verb}: {what}", use


def uses(checkpoint: Path, config: dict[str, Any]) -> list[tuple[str, Callable[[], object]]]:
    return [
        ("info", lambda: list(pages([f"checkpoint={checkpoint}"]))),
        ("load", lambda: load(checkpoint, device="cpu").translate(["a b"])),
        ("continue", lambda: train(config)),
    ]


DIFFERENT = ("The data differs from what the run was trained on", "when the checkpoint was written",
             "Use the data of the checkpoint")  # fmt: skip
"""What is said where a checkpoint is one of another run, as far as can be told."""


def check(run_dir: Path, folder: Path, count: int, seed: int) -> int:
    outcomes = run_cases(cases_of(run_dir, folder, count, seed))
    assert len(outcomes) == 3 * count
    require_documented(outcomes)
    refused = [outcome for outcome in outcomes if outcome.exit_code]
    for outcome in refused:
        assert any(text in outcome.message for text in (str(folder / "run"), *DIFFERENT)), outcome
    return len(refused)


def test_40_checkpoints_of_odd_content_are_used_or_refused_by_name(
    run_dir: Path, tmp_path: Path
) -> None:
    assert check(run_dir, tmp_path, 40, seed=1) > 20


@pytest.mark.slow
def test_300_checkpoints_of_odd_content_are_used_or_refused_by_name(
    run_dir: Path, tmp_path: Path
) -> None:
    refused = check(run_dir, tmp_path, 300, seed=2)
    print(f"{refused} of 900 uses refused")  # noqa: T201 # figures, with -s


def test_a_checkpoint_signed_again_without_a_change_is_still_used(
    run_dir: Path, tmp_path: Path
) -> None:
    """Else the tests above would prove nothing."""
    (newest, *_) = committed(run_dir / "checkpoints")
    copy = tmp_path / "run" / "checkpoints" / newest.name
    shutil.copytree(newest, copy)
    resign(copy)
    read_checkpoint(copy)
    config = config_of(run_dir.parent / "text", tmp_path / "run")
    outcomes = run_cases(uses(copy, config))
    assert [(outcome.exit_code, outcome.uncaught) for outcome in outcomes] == [(0, "")] * 3


def signed_copy(run_dir: Path, folder: Path, change: Callable[[Path], object]) -> Path:
    """Returns a copy of the newest checkpoint with a change, as a stranger could make it."""
    (newest, *_) = committed(run_dir / "checkpoints")
    copy = folder / "run" / "checkpoints" / newest.name
    shutil.copytree(newest, copy)
    change(copy)
    resign(copy)
    return copy


def require_refusal(run_dir: Path, copy: Path, text: str) -> None:
    with pytest.raises(CheckpointError, match=text) as refusal:
        train(config_of(run_dir.parent / "text", copy.parent.parent))
    assert str(copy) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("slot", ["exp_avg", "step"])
def test_an_optimizers_state_of_other_numbers_is_refused_in_one_line(
    run_dir: Path, tmp_path: Path, slot: str
) -> None:
    def retype(checkpoint: Path) -> None:
        file = checkpoint / "optimizer.safetensors"
        data = file.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        of_slot = [entry for name, entry in header.items() if name.endswith(f"/{slot}")]
        assert of_slot
        for entry in of_slot:
            entry["dtype"] = "I32"
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])

    copy = signed_copy(run_dir, tmp_path, retype)
    require_refusal(run_dir, copy, f"'{slot}' of model.* holds int32, the parameter float32")


def test_an_optimizers_state_that_fails_at_its_first_update_is_refused_in_one_line(
    run_dir: Path, tmp_path: Path
) -> None:
    def exchange(tree: Any) -> None:
        for slots in tree["slots"].values():
            slots["step"], slots["exp_avg"] = slots["exp_avg"], slots["step"]

    copy = signed_copy(
        run_dir, tmp_path, lambda folder: with_json(folder / "optimizer.json", exchange)
    )
    require_refusal(run_dir, copy, "its content is not what this program saves for such a run")
