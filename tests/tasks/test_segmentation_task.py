import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_command import overrides
from toy_run import final_state, history, run_forked

from seqtrain.errors import ConfigError
from seqtrain.pipeline import load, train
from seqtrain.training.resume import first_difference
from seqtrain_cli import preprocess
from seqtrain_cli import train as train_command
from seqtrain_cli.entry import run_command

# Threads of torch do not survive a fork.
torch.set_num_threads(1)

SPLITS = {"train": 12, "valid": 5, "test": 5}
SIDES = {"auxiliary_head": True, "presence_head": True}
SIDE_WEIGHTS = {"auxiliary_weight": 0.2, "presence_weight": 0.2}


def write_images(folder: Path) -> Path:
    """Bright squares on dark noise, 12 x 10; the lowest row is not labelled."""
    generator = np.random.default_rng(0)
    for split, count in SPLITS.items():
        values = 0.3 * generator.normal(size=(count, 12, 10, 1)).astype("f4")
        labels = np.full((count, 12, 10), "dark", dtype="<U6")
        for index in range(count):
            top, left = generator.integers(0, 6, size=2)
            labels[index, top : top + 5, left : left + 4] = "bright"
        values[..., 0] += labels == "bright"
        labels[:, -1] = "-1"
        np.savez(folder / f"{split}.npz", values=values, labels=labels)
    return folder


def write_words(folder: Path) -> Path:
    """Words without their spaces, with the tags B and I."""
    generator = np.random.default_rng(0)
    for split, count in SPLITS.items():
        rows = []
        for _ in range(count * 4):
            words = generator.choice(["abc", "da", "ebbe", "f"], size=generator.integers(2, 6))
            tags = "".join("B" + "I" * (len(word) - 1) for word in words)
            rows.append(json.dumps({"tokens": "".join(words), "labels": tags}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def config_of(folder: Path, run_dir: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    ending = "npz" if (folder / "train.npz").exists() else "jsonl"
    config: dict[str, dict[str, Any]] = {
        "task": {
            "name": "segmentation",
            **{split: str(folder / f"{split}.{ending}") for split in SPLITS},
        },
        "model": {"name": "conv_segmenter", "dim": 8, "max_dim": 12, "num_levels": 2},
        "criterion": {"name": "segmentation"},
        "optimizer": {"name": "adam", "lr": 0.02},
        "lr_scheduler": {"name": "poly"},
        "dataset": {"batch_size": 4, "max_tokens": 0},
        "optimization": {"max_update": 30},
        "validation": {"validate_interval": 0, "validate_interval_updates": 15},
        "checkpoint": {
            "save_interval": 0,
            "best_metric": "valid_pixacc_miou",
            "maximize_best_metric": True,
        },
        "logging": {"interval": 1},
        "log_writer": {"jsonl": {}},
    }
    for name, values in sections.items():
        config[name] = config.get(name, {}) | values
    return config | {"run_dir": str(run_dir), "device": "cpu", "seed": 3}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


def falls_by_half(run_dir: Path) -> bool:
    losses = [row["train_loss"] for row in history(run_dir) if row["event"] == "train"]
    return sum(losses[-5:]) < sum(losses[:5]) / 2


def test_thirty_updates_segment_images(images: Path, tmp_path: Path) -> None:
    views = {"crop": 8, "flips": ["width"], "test_flips": ["width"], "test_scales": [1.5]}
    result = train(
        config_of(images, tmp_path / "run", task=views, model=SIDES, criterion=SIDE_WEIGHTS)
    )
    assert falls_by_half(tmp_path / "run")
    assert result.test["pixel_accuracy"] > 90.0
    assert result.test["miou"] > 70.0
    assert {"pixacc_miou", "macro_f1", "iou_bright", "iou_dark"} <= result.test.keys()


def test_thirty_updates_find_words_and_their_spans(words: Path, tmp_path: Path) -> None:
    result = train(config_of(words, tmp_path / "run", task={"spans": "bio"}))
    assert falls_by_half(tmp_path / "run")
    assert result.test["boundary_f1"] > 90.0
    assert result.test["span_f1"] > 90.0
    pipeline = load(tmp_path / "run", device="cpu")
    row = next(iter(pipeline.predict([{"tokens": "abcda"}])))
    assert row["labels"] == list("BIIBI")
    assert row["spans"] == [
        {"begin": 0, "end": 3, "kind": ""},
        {"begin": 3, "end": 5, "kind": ""},
    ]


def test_series_of_numbers_are_cut_mirrored_resized_and_scored_as_runs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in SPLITS.items():
        lengths = generator.integers(20, 30, size=count)
        states = np.concatenate([np.arange(n) // 8 % 2 for n in lengths])
        values = (states + 0.2 * generator.normal(size=len(states))).astype("f4")[:, None]
        names = np.array(["rest", "move"])[states]
        np.savez(tmp_path / f"{split}.npz", values=values, lengths=lengths, labels=names)
    task = {"spans": "runs", "crop": 16, "flips": ["time"], "scales": [0.8, 1.2]}
    evaluation = {"test_flips": ["time"], "test_scales": [0.8], "tile": 16, "tile_margin": 8}
    result = train(config_of(tmp_path, tmp_path / "run", task=task | evaluation))
    assert falls_by_half(tmp_path / "run")
    assert result.test["pixel_accuracy"] > 90.0
    assert result.test["span_f1"] > 50.0


@pytest.mark.parametrize("model", ["conv_classifier", "patch_transformer", "lstm_classifier"])
def test_models_of_sequences_tag_each_position(words: Path, tmp_path: Path, model: str) -> None:
    config = config_of(words, tmp_path / "run", optimization={"max_update": 3})
    config["model"] = {"name": model, "dim": 8}
    config["criterion"] = {"name": "cross_entropy"}
    assert train(config).test["pixel_accuracy"] > 0.0


def test_a_run_that_is_interrupted_anywhere_ends_as_if_it_never_was(
    images: Path, tmp_path: Path
) -> None:
    change: dict[str, dict[str, Any]] = {
        "task": {"crop": 6, "flips": ["height", "width"], "scales": [0.7, 1.4]},
        "model": SIDES | {"dropout": 0.2},
        "criterion": SIDE_WEIGHTS,
        "optimization": {"max_update": 8},
    }
    straight, snapshots = tmp_path / "straight", tmp_path / "snapshots"
    config = config_of(
        images,
        straight,
        checkpoint={"save_interval_updates": 1},
        callback={"test_snapshot": {"into": str(snapshots)}},
        **change,
    )
    assert run_forked(lambda: train(config)) == 0
    expected, rows = final_state(straight), history(straight)
    for update in (1, 4, 7):
        again = snapshots / str(update)
        resumed = config_of(images, again, **change)
        assert run_forked(lambda resumed=resumed: train(resumed)) == 0
        assert first_difference(expected, final_state(again), "state") == ""
        assert history(again) == rows, f"interrupted after update {update}"


@pytest.mark.slow  # two commands, three processes
def test_two_processes_train_and_measure_what_one_does(words: Path, tmp_path: Path) -> None:
    # 20 examples of validation in batches of 3 over two processes: uneven shares.
    results = []
    for num_processes, update_freq in ((1, 2), (2, 1)):
        run_dir = tmp_path / str(num_processes)
        config = config_of(
            words,
            run_dir,
            task={"spans": "bio"},
            optimization={"max_update": 3, "update_freq": update_freq},
            distributed={"num_processes": num_processes},
            dataset={"batch_size": 3},
        )
        command = [sys.executable, "-m", "seqtrain_cli.train", *overrides(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tested = json.loads((run_dir / "test_metrics.json").read_text())
        results.append((final_state(run_dir), tested))
    (one, tested_by_one), (two, tested_by_two) = results
    assert first_difference(one, two, "state") == ""
    assert tested_by_one == pytest.approx(tested_by_two, nan_ok=True, rel=1e-12)


def test_the_preset_trains_heads_at_ten_times_the_rate(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"task.{split}={images / f'{split}.npz'}" for split in SPLITS]
    data = tmp_path / "data"
    assert run_command(preprocess.COMMAND, ["task=segmentation", *words, f"out={data}"]) == 0
    command = [
        "task=segmentation", f"task.data={data}", "model=conv_segmenter", "model.dim=4",
        "criterion=segmentation", "optimizer=sgd_head_x10", "lr_scheduler=poly",
        "optimization.max_update=1", "device=cpu", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    capsys.readouterr()
    assert run_command(train_command.COMMAND, command) == 0
    assert "model.*head*: 2 tensors, 10 parameters, lr x 10" in capsys.readouterr().out


def test_predictions_have_the_shape_of_their_example(images: Path, tmp_path: Path) -> None:
    train(config_of(images, tmp_path / "run", optimization={"max_update": 2}))
    pipeline = load(tmp_path / "run", device="cpu")
    rows = dict(pipeline.predict_split("test"))
    assert sorted(rows) == list(range(5))
    labels = np.array(rows[0]["labels"])
    assert labels.shape == (12, 10)
    assert set(labels.ravel()) <= {"bright", "dark"}
    smaller = next(iter(pipeline.predict([{"values": np.zeros((3, 4, 1)).tolist()}])))
    assert np.array(smaller["labels"]).shape == (3, 4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patch_size": 4}, r"task\.patch_size is for images with one label"),
        ({"scales": [2.0, 1.0]}, r"task\.scales must be a smallest and a largest"),
        ({"spans": "words"}, r"task\.spans must be one of empty, bio, runs, got 'words'"),
        ({"absent_classes": "no"}, r"task\.absent_classes must be one of skip, zero"),
        ({"flips": ["time"]}, r"task\.flips may name each of height, width once"),
        ({"test_flips": ["height", "height"]}, r"task\.test_flips may name each"),
        ({"spans": "bio"}, r"task\.spans is for sequences"),
        ({"repeat": 0}, r"task\.repeat must be at least 1, got 0"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    images: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(config_of(images, tmp_path / "run", task=fields))


def test_symbols_are_neither_resized_nor_averaged_over_views(words: Path, tmp_path: Path) -> None:
    for fields in ({"scales": [0.5, 2.0]}, {"test_flips": ["time"]}):
        with pytest.raises(ConfigError, match="the examples are symbols"):
            train(config_of(words, tmp_path / "run", task=fields))
