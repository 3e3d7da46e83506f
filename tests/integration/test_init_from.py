"""checkpoint.init_from: a new run that begins from the weights of another."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_command import overrides
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain.pipeline import load, train
from seqtrain.training.resume import first_difference
from seqtrain_cli import train as command

ONE_UPDATE: dict[str, Any] = {
    "optimization": {"max_update": 1},
    "log_writer": {"console": {}, "jsonl": {}},
    # So small that the weights after the update are those before it.
    "optimizer": {"lr": 1e-9},
}


def model_of(run_dir: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = final_state(run_dir)["model"]
    return weights


def symbols_of(run_dir: Path, side: str) -> list[str]:
    return load(run_dir, device="cpu").task.vocabularies()[side]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `text`, and a `run` of one layer on it."""
    folder = tmp_path_factory.mktemp("source")
    text = write_toy_text(folder / "text")
    train(toy_config(text, folder / "run", optimization={"max_update": 4}))
    return folder


def begin(source: Path, run_dir: Path, text: Path | None = None, **sections: Any) -> None:
    """Trains one update, too small to see, from the weights of the source."""
    checkpoint = {"init_from": str(source / "run")} | sections.pop("checkpoint", {})
    sections = ONE_UPDATE | {"checkpoint": checkpoint} | sections
    train(toy_config(text or source / "text", run_dir, **sections))


def test_all_weights_are_taken_where_names_and_shapes_agree(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(source, tmp_path / "run")
    old, new = model_of(source / "run"), model_of(tmp_path / "run")
    torch.testing.assert_close(new, old, rtol=0, atol=1e-6)
    counts = f"init_from: {len(old)} tensors taken, 0 of them with rows matched by symbol, 0 left"
    assert f"{counts}, 0 new" in capsys.readouterr().out


def test_nothing_but_the_weights_is_taken(source: Path, tmp_path: Path) -> None:
    begin(source, tmp_path / "run")
    state = final_state(tmp_path / "run")
    assert state["trainer"]["num_updates"] == 1
    steps = [value for name, value in leaves(state["optimizer"]) if name.endswith("step")]
    assert steps
    assert all(float(step) == 1 for step in steps)
    rows = history(tmp_path / "run")
    assert {row["num_updates"] for row in rows} == {1}
    assert {row["epoch"] for row in rows if "epoch" in row} <= {1}


def leaves(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in leaves(value, f"{path}.{key}")]
    return [(path, tree)]


def test_a_prefix_map_renames_and_leaves_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefixes = {"encoder.layers.0.": "encoder.layers.1.", "decoder.layers.": ""}
    begin(
        source,
        tmp_path / "run",
        model={"encoder_layers": 2},
        checkpoint={"init_prefixes": prefixes},
    )
    old, new = model_of(source / "run"), model_of(tmp_path / "run")
    moved = [name for name in old if name.startswith("encoder.layers.0.")]
    assert moved
    for name in moved:
        renamed = new[name.replace("layers.0", "layers.1")]
        torch.testing.assert_close(renamed, old[name], rtol=0, atol=1e-6)
    printed = capsys.readouterr().out.splitlines()
    left = [name for name in old if name.startswith("decoder.layers.")]
    assert [line for line in printed if line.startswith("init_from: left ")] == [
        f"init_from: left {name}" for name in left
    ]
    fresh = sorted(name for name in new if name.startswith(("encoder.layers.0.", *left)))
    assert sorted(line for line in printed if line.startswith("init_from: new ")) == sorted(
        f"init_from: new {name}" for name in fresh
    )


def write_text_of_other_letters(folder: Path) -> Path:
    """Writes text like the toy's, of letters that are partly other and otherwise ordered."""
    write_toy_text(folder)
    letters = dict(zip("abcdef", "fxdcyz", strict=True))
    for path in folder.iterdir():
        lines = path.read_text().splitlines()
        words = [[letters[letter] for letter in line.split()] for line in lines]
        words += {"train.x": [["b"]], "train.y": [["q", "q", "q"]]}.get(path.name, [])
        path.write_text("".join(f"{' '.join(word)}\n" for word in words))
    return folder


def test_rows_of_another_vocabulary_are_matched_by_symbol(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_text_of_other_letters(tmp_path / "text")
    begin(source, tmp_path / "run", text)
    drawn = tmp_path / "drawn"
    train(toy_config(text, drawn, **ONE_UPDATE))
    old, new, fresh = (model_of(run) for run in (source / "run", tmp_path / "run", drawn))
    names = {
        "encoder.embed_tokens.weight": "source",
        "decoder.embed_tokens.weight": "target",
        "decoder.output_projection.weight": "target",
    }
    num_matched = num_new = 0
    for name, side in names.items():
        before, now = symbols_of(source / "run", side), symbols_of(tmp_path / "run", side)
        assert before != now
        for row, symbol in enumerate(now):
            known = symbol in before
            expected = old[name][before.index(symbol)] if known else fresh[name][row]
            torch.testing.assert_close(new[name][row], expected, rtol=0, atol=1e-6)
            num_matched += known
            num_new += not known
    assert num_matched >= 3 * 6
    assert num_new >= 3 * 3
    assert "3 of them with rows matched by symbol" in capsys.readouterr().out


def test_weights_of_another_shape_are_left_and_reported_with_both_shapes(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(source, tmp_path / "run", model={"ffn_dim": 24})
    old, new = model_of(source / "run"), model_of(tmp_path / "run")
    other = [name for name in old if old[name].shape != new[name].shape]
    assert other
    printed = capsys.readouterr().out
    for name in other:
        shapes = f"{list(old[name].shape)} != {list(new[name].shape)}"
        assert f"init_from: left {name} {shapes}\n" in printed
        assert f"init_from: new {name}\n" in printed
    same = {name: value for name, value in old.items() if name not in other}
    torch.testing.assert_close({name: new[name] for name in same}, same, rtol=0, atol=1e-6)


def test_nothing_that_fits_is_refused_and_the_corrected_command_begins(
    refused: Any, run: Any, source: Path, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "checkpoint": {"init_from": str(source / "run")},
        "optimization": {"max_update": 1},
    }
    words = overrides(toy_config(source / "text", tmp_path / "run", **sections))
    wrong = [f"checkpoint.init_prefixes.{side}=nowhere" for side in ("encoder", "decoder")]
    expected = ["no weight of the other run fits", "checkpoint.init_prefixes"]
    refused(2, expected, command.COMMAND, *words, *wrong)
    assert run(command.COMMAND, *words).exit_code == 0


def test_a_source_that_is_not_there_is_refused_and_named(
    refused: Any, source: Path, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {"checkpoint": {"init_from": str(tmp_path / "none")}}
    words = overrides(toy_config(source / "text", tmp_path / "run", **sections))
    expected = [f"{tmp_path / 'none'} does not exist", "Name a run directory"]
    refused(4, expected, command.COMMAND, *words)


def test_a_resumed_run_does_not_begin_from_the_source_again(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source / "run", copy)

    def go_on(run_dir: Path, last: int) -> None:
        sections: dict[str, Any] = {
            "checkpoint": {"init_from": str(copy)},
            "optimization": {"max_update": last},
            "log_writer": {"console": {}, "jsonl": {}},
        }
        train(toy_config(source / "text", run_dir, **sections))

    go_on(tmp_path / "straight", 4)
    go_on(tmp_path / "stopped", 2)
    assert "init_from: " in capsys.readouterr().out
    shutil.rmtree(copy)
    go_on(tmp_path / "stopped", 4)
    assert "init_from: " not in capsys.readouterr().out
    straight, stopped = (final_state(tmp_path / name) for name in ("straight", "stopped"))
    assert first_difference(straight, stopped, "state") == ""
    config = json.loads((tmp_path / "stopped/config.json").read_text())
    assert config["checkpoint"]["init_from"] == str(copy)
