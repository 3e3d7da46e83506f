import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distributed.processes import run_in_processes
from labelled_toy import recognition_config, series, settings, write_jsonl, write_toy_series
from toy_run import final_state, history, run_forked

from seqtrain.data.labelled.data import prepare_labelled
from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError, DataError
from seqtrain.models.base import ModelOutput
from seqtrain.pipeline import Pipeline, load, train
from seqtrain.plugins import import_built_ins
from seqtrain.tasks.base import TASKS
from seqtrain.tasks.recognition import ShiftedViews
from seqtrain.training.build import build_run
from seqtrain.training.resume import first_difference
from seqtrain.training.run_config import RunConfig
from seqtrain_cli import evaluate, generate, preprocess
from seqtrain_cli.entry import run_command

import_built_ins()

# Threads of torch do not survive a fork.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_series(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def run_dir(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on raw files."""
    run_dir = tmp_path_factory.mktemp("recognition") / "run"
    train(recognition_config(data, run_dir))
    return run_dir


@pytest.fixture(scope="module")
def pipeline(run_dir: Path) -> Pipeline:
    return load(run_dir, device="cpu")


@pytest.mark.parametrize("model", ["conv_classifier", "patch_transformer", "lstm_classifier"])
def test_forty_updates_halve_the_loss(data: Path, tmp_path: Path, model: str) -> None:
    config = recognition_config(
        data,
        tmp_path / "run",
        optimization={"max_update": 40, "max_epoch": 0},
        dataset={"batch_size": 20},
    )
    config["model"] = {"name": model, "dim": 16}
    result = train(config)
    losses = [row["train_loss"] for row in history(tmp_path / "run") if row["event"] == "train"]
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
    assert result.test["accuracy"] > 80.0


def test_a_run_that_is_interrupted_anywhere_ends_as_if_it_never_was(
    data: Path, tmp_path: Path
) -> None:
    change = {
        "task": {"mixup": 0.3, "cutmix": 1.0, "augment": ["shift", "jitter", "warp"]},
        "ema": {"kind": "ema", "decay": 0.9},
    }
    straight, snapshots = tmp_path / "straight", tmp_path / "snapshots"
    config = recognition_config(
        data,
        straight,
        checkpoint={"save_interval_updates": 1},
        callback={"test_snapshot": {"into": str(snapshots)}},
        **change,
    )
    assert run_forked(lambda: train(config)) == 0
    expected, rows = final_state(straight), history(straight)
    assert len(list(snapshots.iterdir())) == 10
    for update in (1, 3, 5, 8):
        again = snapshots / str(update)
        resumed = recognition_config(data, again, **change)
        assert run_forked(lambda resumed=resumed: train(resumed)) == 0
        assert first_difference(expected, final_state(again), "state") == ""
        assert history(again) == rows, f"interrupted after update {update}"


def trained(
    collectives: Collectives, folder: Path, update_freq: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Trains an epoch and validates; 13 examples in batches of 4 are uneven shares of two."""
    config = RunConfig.parse(
        recognition_config(
            folder,
            folder / "run",
            dataset={"batch_size": 4},
            optimization={"update_freq": update_freq},
            task={"mixup": 0.3, "augment": ["scale"]},
        )
    )
    run = build_run(config, collectives, torch.device("cpu"))
    for _ in run.trainer.train_epoch(run.iterator):
        pass
    parameters = {name: p.tolist() for name, p in run.trainer.model.named_parameters()}
    return parameters, run.evaluator.losses("valid")


def test_two_processes_train_and_measure_what_one_does(data: Path) -> None:
    parameters, values = trained(Collectives(), data, 2)
    for found_parameters, found_values in run_in_processes(trained, 2, data, 1):
        assert found_parameters == parameters
        assert found_values == pytest.approx(values, rel=1e-12)


def test_a_prepared_folder_trains_what_the_raw_files_train(
    data: Path, run_dir: Path, tmp_path: Path
) -> None:
    words = [f"task.{split}={data / f'{split}.npz'}" for split in ("train", "valid", "test")]
    out = tmp_path / "data"
    assert run_command(preprocess.COMMAND, ["task=recognition", *words, f"out={out}"]) == 0
    config = recognition_config(data, tmp_path / "run")
    config["task"] = {"name": "recognition", "data": str(out)}
    train(config)
    assert first_difference(final_state(run_dir), final_state(tmp_path / "run"), "state") == ""


def test_evaluate_prints_what_training_wrote_and_the_confusion_matrix(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"checkpoint={run_dir}", "device=cpu"]
    assert run_command(evaluate.COMMAND, words) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((run_dir / "test_metrics.json").read_text())
    assert written.pop("num_updates") == 10
    assert written.keys() == {"test_loss", "test_accuracy", "test_macro_f1"}
    assert {name: printed[name] for name in written} == written
    table = printed["tables"]["confusion"]
    assert table["classes"] == ["a", "b", "c"]
    counts = np.array(table["true_by_predicted"])
    assert counts.sum(axis=1).tolist() == [5, 4, 4]
    assert 100 * counts.trace() / 13 == pytest.approx(written["test_accuracy"])


def test_generate_writes_a_line_for_each_example_of_a_split_and_of_json_lines(
    run_dir: Path,
    pipeline: Pipeline,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [f"checkpoint={run_dir}", "device=cpu"]
    assert run_command(generate.COMMAND, [*words, "split=test"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == list(range(13))
    assert all(row["label"] == next(iter(row["probabilities"])) for row in rows)
    values = series(13, seed=2)[0]
    path = write_jsonl(tmp_path / "in.jsonl", [{"values": v.tolist()} for v in values])
    assert run_command(generate.COMMAND, [*words, f"input={path}"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row, other in zip(rows, again, strict=True):
        assert row["probabilities"] == pytest.approx(other["probabilities"])
    assert pipeline.classify(values) == [row["label"] for row in rows]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    path.write_text('{"values": [[1.0, 2.0]]}\n{"values": \n{"values": [[1.0, 2.0]]}\n')
    assert run_command(generate.COMMAND, [*words, f"input={path}"]) == 0
    written = capsys.readouterr()
    first, bad, last = [json.loads(line) for line in written.out.splitlines()]
    assert first["label"] == last["label"]
    assert "the line is not JSON" in bad["error"]
    assert "line 2 has no output: the line is not JSON" in written.err


def test_input_of_another_form_is_one_clear_line(pipeline: Pipeline) -> None:
    with pytest.raises(DataError, match=r"number 0 on, input 1: values of shape \[1, 3\]"):
        pipeline.classify([[[1.0, 2.0]], [[1.0, 2.0, 3.0]]])
    with pytest.raises(DataError, match=r"value at \[0, 1\] is nan"):
        pipeline.classify([[[1.0, float("nan")]]])


def test_evaluation_may_average_moved_views(run_dir: Path, data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 3)

    class Last(torch.nn.Module):
        def forward(self, padding_mask: torch.Tensor, values: torch.Tensor) -> ModelOutput:
            return ModelOutput(values[:, 2], layer)

    values = torch.randn(1, 5, 2)
    mask = torch.tensor([[False, False, False, False, True]])
    found = ShiftedViews(Last(), [-1, 0, 2])(padding_mask=mask, values=values).logits
    views = [layer(values[:, place]).softmax(-1) for place in (3, 2, 0)]
    torch.testing.assert_close(found, (sum(views) / 3).log())
    config = recognition_config(data, tmp_path / "run", task={"test_shifts": [-1, 0, 1]})
    assert train(config).test["loss"] != json.loads((run_dir / "test_metrics.json").read_text())


def test_moved_views_of_nothing_but_the_example_itself_change_nothing(
    data: Path, run_dir: Path, tmp_path: Path
) -> None:
    train(recognition_config(data, tmp_path / "run", task={"test_shifts": [0]}))
    expected = json.loads((run_dir / "test_metrics.json").read_text())
    found = json.loads((tmp_path / "run/test_metrics.json").read_text())
    assert found == pytest.approx(expected, rel=1e-5)


def test_text_and_images_are_recognised_too(tmp_path: Path) -> None:
    rows = [
        {"text": text * (1 + i % 3), "label": label}
        for i in range(20)
        for text, label in (("ab", "x"), ("ba", "y"), ("cc", "z"))
    ]
    path = write_jsonl(tmp_path / "text.jsonl", rows)
    images = np.random.default_rng(0).normal(size=(40, 4, 6, 1))
    images[::2, :2] += 2.0
    np.savez(tmp_path / "images.npz", values=images, labels=np.arange(40) % 2)
    for task, name in (({}, path), ({"patch_size": 2}, tmp_path / "images.npz")):
        config = recognition_config(
            tmp_path,
            tmp_path / f"run_{name.stem}",
            optimization={"max_update": 30, "max_epoch": 0},
            dataset={"batch_size": 20},
        )
        config["task"] = {"name": "recognition", "train": str(name), "valid": str(name), **task}
        config["model"] = {"name": "patch_transformer", "dim": 16, "num_layers": 1}
        train(config | {"validation": {"test_split": ""}})
        last = [row for row in history(Path(config["run_dir"])) if row["event"] == "valid"][-1]
        assert last["valid_accuracy"] == 100.0


REFUSED = [
    ({"task": {"mixup": 0.2}, "criterion": {"name": "cross_entropy"}}, "criterion=soft_cross_en"),
    ({"task": {"augment": ["jiter"]}}, "task.augment has no 'jiter'"),
    ({"task": {"mixup": -1.0}}, "task.mixup must not be negative"),
    ({"task": {"patch_size": 2}}, "task.patch_size=2 is for images"),
    ({"task": {"scale": "max"}}, "task.scale must be one of standard, none"),
    ({"task": {"train": "", "data": ""}}, "task=recognition has no data"),
    ({"model": {"name": "transformer", "dim": 8}}, "task that knows|There is no key"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_cannot_work_is_refused_before_training(
    data: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(recognition_config(data, tmp_path / "run", **change))


def test_data_with_labels_for_positions_is_for_another_task(tmp_path: Path) -> None:
    rows = [{"tokens": "ab", "labels": "xy"}]
    chosen = settings(write_jsonl(tmp_path / "a.jsonl", rows), per_position=True)
    prepare_labelled(chosen, tmp_path / "data")
    config = TASKS.parse({"name": "recognition", "data": str(tmp_path / "data")})
    with pytest.raises(DataError, match="has a label for each position, task=recognition needs"):
        TASKS.get("recognition").cls.load(config, 1)
