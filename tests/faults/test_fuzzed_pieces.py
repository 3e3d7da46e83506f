"""Checkpoints in a file for each rank: damaged, mixed up or lying, they are refused in one line."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bounded_cases import Case, Outcome, require_documented, run_cases
from distributed.ranks import run_ranks, said
from foreign_checkpoints import resign, with_json, write_manifest
from test_fuzzed_checkpoints import DIFFERENT, mutate, retype_tensor, uses
from toy_command import overrides
from toy_run import toy_config, write_toy_text

from seqtrain.checkpoint.load import read_checkpoint
from seqtrain.checkpoint.tree import trees_equal
from seqtrain.plugins import load_plugins

torch.set_num_threads(1)

STEP = "step-0000000002"
WEIGHT = "encoder.layers.0.self_attn.qkv_proj.weight"
"""Of the shape [24, 8]: rows 12 to 23 are with rank 1."""
LAYOUTS = {"fsdp": {"strategy": "fsdp"}, "zero": {"shard_optimizer": True}}
PIECES = {
    "fsdp": [
        f"{part}-rank-0000{rank}" for part in ("ema", "model", "optimizer") for rank in (0, 1)
    ],
    "zero": ["optimizer-rank-00000", "optimizer-rank-00001"],
}


def config_of(text: Path, run_dir: Path, **sections: Any) -> dict[str, Any]:
    return toy_config(
        text,
        run_dir,
        ema={"kind": "ema", "decay": 0.9},
        validation={"test_split": "", "validate_interval_updates": 0},
        dataset={"num_workers": 0},
        checkpoint={"background": False, "save_interval": 0},
        **({"optimization": {"max_update": 3, "max_epoch": 0}} | sections),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text, runs of two ranks under each layout, and one with other values."""
    folder = tmp_path_factory.mktemp("pieces")
    load_plugins([])
    text = write_toy_text(folder / "text")
    limits = {"max_update": 2, "max_epoch": 0}
    for name, layout in LAYOUTS.items():
        config = config_of(text, folder / name, optimization=limits, distributed=layout)
        output = folder / f"{name}-output"
        assert run_ranks(overrides(config), 2, output) == [0, 0], said(output)
    other = checkpoint_of(folder / "other")
    shutil.copytree(checkpoint_of(folder / "fsdp"), other)
    for file in other.glob("*-rank-*.safetensors"):
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    resign(other)
    read_checkpoint(other)
    return folder


def checkpoint_of(run_dir: Path) -> Path:
    return run_dir / "checkpoints" / STEP


def copied(folder: Path, layout: str, target: Path) -> Path:
    """Returns a copy of a layout's checkpoint in the place of the one before."""
    shutil.rmtree(target / "run", ignore_errors=True)
    checkpoint = checkpoint_of(target / "run")
    shutil.copytree(checkpoint_of(folder / layout), checkpoint)
    return checkpoint


def require_refused(outcomes: list[Outcome], checkpoint: Path) -> None:
    """Each case ended with one line that names the checkpoint, and the exit code for it."""
    require_documented(outcomes)
    for outcome in outcomes:
        assert outcome.exit_code == 4, outcome
        assert str(checkpoint) in outcome.message, outcome


def regions(file: Path) -> dict[str, int]:
    """Returns a byte of each region of a file."""
    data = file.read_bytes()
    found = {"first": 0, "middle": len(data) // 2, "last": len(data) - 1}
    if file.suffix == ".safetensors":
        end = 8 + int.from_bytes(data[:8], "little")
        found |= {"length": 7, "header": 8, "header's middle": (8 + end) // 2}
        found |= {"header's end": end - 1, "values": end}
    return found


def cases_of_bytes(folder: Path, target: Path) -> Iterator[Case]:
    for layout in LAYOUTS:
        checkpoint = copied(folder, layout, target)
        config = config_of(folder / "text", target / "run")
        files = sorted(checkpoint.iterdir())
        for file in files if layout == "fsdp" else [f for f in files if f.stem in PIECES[layout]]:
            original = file.read_bytes()
            for region, place in regions(file).items():
                data = bytearray(original)
                data[place] ^= 1
                file.write_bytes(data)
                _, load, proceed = uses(checkpoint, config)
                for verb, use in [load, proceed] if region == "middle" else [load]:
                    yield f"{layout} {file.name}, {region}: {verb}", use
            file.write_bytes(original)


def test_a_changed_byte_of_any_region_of_any_file_is_noticed(folder: Path, tmp_path: Path) -> None:
    outcomes = run_cases(cases_of_bytes(folder, tmp_path))
    assert len(outcomes) > 150
    require_refused(outcomes, checkpoint_of(tmp_path / "run"))
    for outcome in outcomes:
        assert outcome.name.split()[1].rstrip(",") in outcome.message, outcome


Change = Callable[[Path, Path], object]


def without(*names: str) -> Change:
    return lambda checkpoint, folder: [(checkpoint / name).unlink() for name in names]


def from_another_run(*names: str) -> Change:
    def change(checkpoint: Path, folder: Path) -> None:
        for name in names:
            shutil.copy(checkpoint_of(folder / "other") / name, checkpoint / name)

    return change


def swapped(stem: str) -> Change:
    """Gives each rank's files the name of the other's."""

    def change(checkpoint: Path, folder: Path) -> None:
        for kind in ("json", "safetensors"):
            first, second = (checkpoint / f"{stem}-rank-0000{rank}.{kind}" for rank in (0, 1))
            aside = first.rename(checkpoint.parent / "aside")
            second.rename(first)
            aside.rename(second)

    return change


def piece(change: Callable[[list[Any]], object], rank: int = 1, name: str = WEIGHT) -> Change:
    """Changes [tensor, shape, begin] of a weight on a rank."""

    def change_file(checkpoint: Path, folder: Path) -> None:
        with_json(
            checkpoint / f"model-rank-0000{rank}.json", lambda tree: change(tree[name]["$piece"])
        )

    return change_file


def both(shape: list[int]) -> Change:
    """Lets both ranks claim another shape of the whole tensor."""

    def change_file(checkpoint: Path, folder: Path) -> None:
        for rank in (0, 1):
            piece(lambda parts: parts.__setitem__(1, shape), rank)(checkpoint, folder)

    return change_file


def third_rank(checkpoint: Path, folder: Path) -> None:
    """Adds a rank that the run never had, with a piece in the place of rank 1's."""
    tree = json.loads((checkpoint / "model-rank-00001.json").read_bytes())
    shutil.copy(
        checkpoint / "model-rank-00000.safetensors", checkpoint / "model-rank-00002.safetensors"
    )
    (checkpoint / "model-rank-00002.json").write_text(json.dumps(tree))


def in_pieces(part: str, content: Any) -> Change:
    """Adds a piece of a part that is never divided."""
    return lambda checkpoint, folder: (checkpoint / f"{part}-rank-00001.json").write_text(
        json.dumps(content)
    )


def empty_of_a_huge_shape(checkpoint: Path, folder: Path) -> None:
    with_json(
        checkpoint / "model.json",
        lambda tree: tree.update({"x": {"$piece": [{"$tensor": "x"}, [0, 2**62, 2**62], [0] * 3]}}),
    )
    shutil.rmtree(checkpoint / "model.safetensors", ignore_errors=True)
    header = b'{"x":{"dtype":"F32","shape":[0,1,1],"data_offsets":[0,0]}}'
    (checkpoint / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


UNSIGNED: dict[str, Change] = {
    "a tensor file missing": without("model-rank-00001.safetensors"),
    "a text missing": without("optimizer-rank-00000.json"),
    "a rank missing": without("model-rank-00001.json", "model-rank-00001.safetensors"),
    "the common part missing": without("model.json"),
    "a tensor file of another run": from_another_run("model-rank-00001.safetensors"),
    "a rank of another run": from_another_run(
        "optimizer-rank-00001.json", "optimizer-rank-00001.safetensors"
    ),
    "the manifest of another run": from_another_run("manifest.json"),
    "ranks swapped": swapped("model"),
    "ranks of the optimizer swapped": swapped("optimizer"),
}
"""Mixed up by hand or by a copy that went wrong: the checksums tell."""

SIGNED: dict[str, Change] = {
    "a rank missing": without("model-rank-00001.json", "model-rank-00001.safetensors"),
    "the common part missing": without("model.json"),
    "tensors of the other rank": lambda checkpoint, folder: shutil.copy(
        checkpoint / "optimizer-rank-00000.safetensors",
        checkpoint / "model-rank-00001.safetensors",
    ),
    "a third rank": third_rank,
    "a rank that is a copy of the other": lambda checkpoint, folder: [
        shutil.copy(
            checkpoint / f"model-rank-00000.{kind}", checkpoint / f"model-rank-00001.{kind}"
        )
        for kind in ("json", "safetensors")
    ],
    "overlap": piece(lambda parts: parts[2].__setitem__(0, 6)),
    "gap": piece(lambda parts: parts[2].__setitem__(0, 18)),
    "the place of the other rank": piece(lambda parts: parts[2].__setitem__(0, 0)),
    "a place outside": piece(lambda parts: parts[2].__setitem__(0, 2**62)),
    "a place before": piece(lambda parts: parts[2].__setitem__(0, -12)),
    "a place in fewer dimensions": piece(lambda parts: parts[2].pop()),
    "a place in more dimensions": piece(lambda parts: parts[2].append(0)),
    "a place that is a word": piece(lambda parts: parts[2].__setitem__(0, "12")),
    "a place that is true": piece(lambda parts: parts[2].__setitem__(0, True)),
    "a place that is no whole number": piece(lambda parts: parts[2].__setitem__(0, 12.0)),
    "another shape on one rank": piece(lambda parts: parts.__setitem__(1, [36, 8])),
    "fewer dimensions": piece(lambda parts: parts.__setitem__(1, [192])),
    "a huge shape": both([2**62, 8]),
    "a shape whose size overflows": both([2**62, 2**62]),
    "a shape beyond all integers": both([2**70, 8]),
    "a shape of more rows": both([48, 8]),
    "a shape of fewer rows": both([12, 8]),
    "a shape of no rows": both([0, 8]),
    "no shape": both([]),
    "a tensor that is not there": piece(lambda parts: parts[0].update({"$tensor": "../../x"})),
    "a number in the place of values": piece(lambda parts: parts.__setitem__(0, 7)),
    "a piece in a piece": piece(lambda parts: parts.__setitem__(0, {"$piece": list(parts)})),
    "a piece of two elements": piece(lambda parts: parts.pop()),
    "a second configuration": in_pieces("config", {"model": {"dim": 16}}),
    "a list as pieces": in_pieces("model", [1, 2]),
}
"""With checksums that are right."""

SIGNED_STATE: dict[str, Change] = {
    "a rank of the optimizer missing": without(
        "optimizer-rank-00000.json", "optimizer-rank-00000.safetensors"
    ),
    "the common part of the optimizer missing": without("optimizer.json", "optimizer.safetensors"),
    "a piece where others have a number": in_pieces("trainer", {"num_updates": {"a": 1}}),
    "a huge shape without values": empty_of_a_huge_shape,
}
"""The same, of what only a run that continues reads."""


def manifest_with(**row: Any) -> Change:
    def change(checkpoint: Path, folder: Path) -> None:
        fields = json.loads((checkpoint / "manifest.json").read_bytes())
        fields["files"].append({"name": "z.json", "size": 2, "crc32": 0} | row)
        fields["files"].sort(key=lambda entry: str(entry["name"]))
        write_manifest(checkpoint, fields)

    return change


MANIFESTS: dict[str, Change] = {
    "upwards": manifest_with(name="../model-rank-00001.json"),
    "absolute": manifest_with(name="/etc/passwd"),
    "in a folder": manifest_with(name="pieces/model-rank-00001.json"),
    "twice": manifest_with(name="model-rank-00001.json"),
    "of a rank that wrote nothing": manifest_with(name="model-rank-00007.json"),
    "of a rank beyond five digits": manifest_with(name="model-rank-100000.json"),
    "tensors without their text": manifest_with(name="model-rank-00007.safetensors"),
    "a number as a name": manifest_with(name=7),
    "a huge size": manifest_with(name="model-rank-00007.json", size=2**62),
    "the manifest itself": manifest_with(name="manifest.json"),
}


def cases_of_changes(
    changes: dict[str, Change], sign: bool, folder: Path, target: Path
) -> Iterator[Case]:
    for name, change in changes.items():
        checkpoint = copied(folder, "fsdp", target)
        change(checkpoint, folder)
        if sign:
            resign(checkpoint)
        _, load, proceed = uses(checkpoint, config_of(folder / "text", target / "run"))
        for verb, use in [proceed] if changes is SIGNED_STATE else [load, proceed]:
            yield f"{name}: {verb}", use


@pytest.mark.parametrize(
    ("changes", "sign"),
    [
        pytest.param(UNSIGNED, False, id="mixed up"),
        pytest.param(SIGNED, True, id="signed"),
        pytest.param(SIGNED_STATE, True, id="signed state"),
        pytest.param(MANIFESTS, False, id="manifests"),
    ],
)
def test_pieces_that_do_not_belong_together_are_refused_and_nothing_is_loaded(
    changes: dict[str, Change], sign: bool, folder: Path, tmp_path: Path
) -> None:
    outcomes = run_cases(cases_of_changes(changes, sign, folder, tmp_path))
    assert len(outcomes) >= len(changes)
    require_refused(outcomes, checkpoint_of(tmp_path / "run"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_piece_says_itself_where_it_belongs_whatever_the_name_of_its_file(
    layout: str, folder: Path, tmp_path: Path
) -> None:
    checkpoint = copied(folder, layout, tmp_path)
    for part in {name.rpartition("-rank-")[0] for name in PIECES[layout]}:
        swapped(part)(checkpoint, folder)
    resign(checkpoint)
    expected = read_checkpoint(checkpoint_of(folder / layout)).parts
    found = read_checkpoint(checkpoint).parts
    for part in ("model", "optimizer", "ema"):
        for name, tree in expected[part].items():
            assert trees_equal(dict_sorted(tree), dict_sorted(found[part][name])), name


def dict_sorted(tree: Any) -> Any:
    """Returns a tree whose dicts are in the order of their keys."""
    if isinstance(tree, dict):
        return {key: dict_sorted(tree[key]) for key in sorted(tree)}
    return tree


def odd_cases(folder: Path, target: Path, count: int, seed: int) -> Iterator[Case]:
    rng = random.Random(seed)
    for number in range(count):
        layout = rng.choice(sorted(LAYOUTS))
        checkpoint = copied(folder, layout, target)
        name = rng.choice(PIECES[layout])
        if rng.random() < 0.15 and not name.startswith("optimizer"):
            what = retype_tensor(rng, checkpoint / f"{name}.safetensors")
        else:
            changes: list[str] = []

            def change(tree: Any, changes: list[str] = changes) -> None:
                changes += [mutate(rng, tree) for _ in range(rng.choice([1, 1, 2]))]

            with_json(checkpoint / f"{name}.json", change)
            what = "; ".join(changes)
        resign(checkpoint)
        for verb, use in uses(checkpoint, config_of(folder / "text", target / "run")):
            yield f"{number} {verb} of {layout}: {name}: {what}", use


@pytest.mark.parametrize(("count", "seed"), [(12, 1), pytest.param(300, 2, marks=pytest.mark.slow)])
def test_pieces_of_odd_content_are_used_or_refused_by_name(
    folder: Path, tmp_path: Path, count: int, seed: int
) -> None:
    outcomes = run_cases(odd_cases(folder, tmp_path, count, seed))
    assert len(outcomes) == 3 * count
    require_documented(outcomes)
    refused = [outcome for outcome in outcomes if outcome.exit_code]
    assert len(refused) > count / 2
    for outcome in refused:
        assert any(text in outcome.message for text in (str(tmp_path / "run"), *DIFFERENT)), outcome


def test_pieces_signed_again_without_a_change_are_still_used(folder: Path, tmp_path: Path) -> None:
    """Else the tests above would prove nothing."""
    for layout in LAYOUTS:
        checkpoint = copied(folder, layout, tmp_path)
        resign(checkpoint)
        outcomes = run_cases(uses(checkpoint, config_of(folder / "text", tmp_path / "run")))
        assert [(outcome.exit_code, outcome.uncaught) for outcome in outcomes] == [(0, "")] * 3
