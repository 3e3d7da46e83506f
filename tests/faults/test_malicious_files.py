"""Files that want to run code, read secrets or lead elsewhere: data, or refused."""

import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from bounded_cases import Case, Outcome, require_documented, run_cases
from foreign_checkpoints import resign, with_json, write_manifest
from toy_command import overrides
from toy_run import toy_config, write_toy_text

from seqtrain.checkpoint.layout import committed
from seqtrain.pipeline import load, train
from seqtrain.plugins import load_plugins
from seqtrain.training.run_config import RunConfig
from seqtrain_cli.command import Command
from seqtrain_cli.compose import compose_and_run
from seqtrain_cli.info_pages import pages

torch.set_num_threads(1)
SECRET = "hunter2-of-the-environment"


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")
    monkeypatch.delenv("SEQTRAIN_PLUGINS", raising=False)
    monkeypatch.setenv("SEQTRAIN_TEST_SECRET", SECRET)


OPEN = "_target_: builtins.open, file: MARKER, mode: w"
MAKE = "_target_: os.mkdir, path: MARKER"
HANDLER = "handlers: {x: {class: logging.FileHandler, filename: MARKER}}, root: {handlers: [x]}"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdef")
)
HYDRA_SECTIONS = {
    "callback that opens": "callbacks: {x: {" + OPEN + "}}",
    "callback that makes a folder": "callbacks: {x: {" + MAKE + "}}",
    "callback by alias": "callbacks: {x: {_target_: logging.os.mkdir, path: MARKER}}",
    "callback that runs": "callbacks: {x: {_target_: subprocess.run, args: [touch, MARKER]}}",
    "launcher": "launcher: {_target_: os.mkdir}",
    "launcher with an argument": "launcher: {" + OPEN + "}",
    "sweeper": "mode: MULTIRUN, sweeper: {_target_: os.mkdir}",
    "job logging by factory": "job_logging: {formatters: {x: {(): os.mkdir, path: MARKER}}}",
    "job logging to a file": "job_logging: {version: 1, " + HANDLER + "}",
    "Hydra's logging to a file": "hydra_logging: {version: 1, " + HANDLER + "}",
    "variables for children": "job: {env_set: {LD_PRELOAD: MARKER}}",
    "search path in a package": "searchpath: ['pkg://os']",
}
EVIL_CONFIGS = {name: "hydra: {" + text + "}" for name, text in HYDRA_SECTIONS.items()} | {
    "target in the model": "model: {" + OPEN + "}",
    "target at the top": OPEN.replace(", ", "\n"),
    "target in a log writer": "log_writer: {jsonl: {" + OPEN + "}}",
    "Python object": "seed: !!python/object/apply:os.mkdir ['MARKER']",
    "Python name": "seed: !!python/name:os.system",
    "Python module": "seed: !!python/module:antigravity",
    "secret of the environment": "run_dir: runs/${oc.env:SEQTRAIN_TEST_SECRET}",
    "secret by a name put together": "run_dir: ${${device}:SEQTRAIN_TEST_SECRET}\ndevice: oc.env",
    "secret decoded": "run_dir: ${oc.decode:${oc.env:SEQTRAIN_TEST_SECRET}}",
    "aliases that explode": BOMB + "seed: *f",
    "a list in itself": "seed: &a [*a]",
}


def config_cases(folder: Path, marker: Path, taken: Path) -> Iterator[Case]:
    path = folder / "experiment" / "evil.yaml"
    path.parent.mkdir(parents=True)

    def parse(container: dict[str, Any]) -> None:
        taken.write_text(json.dumps(RunConfig.parse(container).to_container()))

    command = Command("train", "", parse)
    base = ["--config-dir", str(folder), "task=translation"]
    for name, text in EVIL_CONFIGS.items():
        path.write_text("# @package _global_\n" + text.replace("MARKER", str(marker)))
        yield name, lambda: compose_and_run(command, [*base, "experiment=evil"])
        swept = [*base, "experiment=evil,evil", "-m"]
        yield f"{name}, swept", lambda words=swept: compose_and_run(command, words)


def test_20_malicious_configurations_run_nothing_and_tell_no_secret(tmp_path: Path) -> None:
    load_plugins([])
    marker, taken = tmp_path / "marker", tmp_path / "taken"
    outcomes = run_cases(config_cases(tmp_path / "presets", marker, taken))
    assert len(EVIL_CONFIGS) >= 20
    assert len(outcomes) == 2 * len(EVIL_CONFIGS)
    require_documented(outcomes)
    assert not marker.exists()
    assert not taken.exists(), taken.read_text()
    for outcome in outcomes:
        assert outcome.exit_code == 2, outcome
        assert SECRET not in outcome.message


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("malicious")
    text = write_toy_text(folder / "text")
    train(config_of(text, folder / "run"))
    (newest, *_) = committed(folder / "run" / "checkpoints")
    return newest


def config_of(text: Path, run_dir: Path) -> dict[str, Any]:
    limits = {"max_update": 2}
    return toy_config(text, run_dir, optimization=limits, validation={"test_split": ""})


def replaced_by_pickle(name: str) -> Callable[[Path, Path], None]:
    def change(checkpoint: Path, marker: Path) -> None:
        (checkpoint / name).write_bytes(pickle.dumps(Bomb(marker)))

    return change


def replaced_by_torch(name: str, zipped: bool = True) -> Callable[[Path, Path], None]:
    def change(checkpoint: Path, marker: Path) -> None:
        bomb = {"weight": Bomb(marker)}
        torch.save(bomb, checkpoint / name, _use_new_zipfile_serialization=zipped)

    return change


def changed_json(name: str, change: Callable[[Any, Path], object]) -> Callable[[Path, Path], None]:
    return lambda checkpoint, marker: with_json(
        checkpoint / name, lambda tree: change(tree, marker)
    )


def names_a_plugin(tree: Any, marker: Path) -> None:
    plugin = marker.with_name("evil_plugin.py")
    plugin.write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    tree["plugins"] = [str(plugin), "evil_plugin"]
    tree["model"]["name"] = "evil"


def zip_bomb(checkpoint: Path, marker: Path) -> None:
    with zipfile.ZipFile(checkpoint / "model.safetensors", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model/data.pkl", bytes(50 * 2**20))


def link_to_a_secret(checkpoint: Path, marker: Path) -> None:
    (checkpoint / "task.json").unlink()
    (checkpoint / "task.json").symlink_to("/etc/passwd")


def with_torchs_own_metadata(checkpoint: Path, marker: Path) -> None:
    (checkpoint / ".metadata").write_bytes(pickle.dumps(Bomb(marker)))


def manifest_of_a_path(name: str) -> Callable[[Path, Path], None]:
    def change(checkpoint: Path, marker: Path) -> None:
        fields = json.loads((checkpoint / "manifest.json").read_bytes())
        fields["files"].insert(0, {"name": name, "size": 0, "crc32": 0})
        write_manifest(checkpoint, fields)

    return change


def written(name: str, content: bytes) -> Callable[[Path, Path], None]:
    def change(checkpoint: Path, marker: Path) -> None:
        (checkpoint / name).write_bytes(content)

    return change


def updated(name: str, **values: Any) -> Callable[[Path, Path], None]:
    return changed_json(name, lambda tree, marker: tree.update(values))


def set_in(section: str, **values: Any) -> Callable[[Any, Path], None]:
    return lambda tree, marker: tree[section].update(values)


EVIL_CHECKPOINTS: dict[str, Callable[[Path, Path], None]] = {
    "pickle as the model": replaced_by_pickle("model.safetensors"),
    "pickle as the model's text": replaced_by_pickle("model.json"),
    "pickle as the configuration": replaced_by_pickle("config.json"),
    "pickle as the task": replaced_by_pickle("task.json"),
    "pickle as random numbers": replaced_by_pickle("rank-00000.safetensors"),
    "pickle as the optimizer": replaced_by_pickle("optimizer.safetensors"),
    "torch file as the model": replaced_by_torch("model.safetensors"),
    "old torch file as the model": replaced_by_torch("model.safetensors", zipped=False),
    "torch file beside": replaced_by_torch("model.pt"),
    "torch's metadata": with_torchs_own_metadata,
    "zip bomb": zip_bomb,
    "link to a secret": link_to_a_secret,
    "plug-in named": changed_json("config.json", names_a_plugin),
    "target in the model": changed_json("config.json", set_in("model", _target_="os.mkdir")),
    "module as a name": changed_json("config.json", set_in("model", name="os.system")),
    "path as a name": changed_json("config.json", set_in("model", name="../../evil_plugin.py")),
    "tokenizer by module": changed_json("task.json", set_in("source", tokenizer={"name": "os"})),
    "interpolation": changed_json(
        "config.json", set_in("task", data="${oc.env:SEQTRAIN_TEST_SECRET}")
    ),
    "resolver": changed_json("config.json", set_in("model", dim="${oc.decode:'8'}")),
    "code as a number": changed_json(
        "config.json", set_in("optimizer", betas="__import__('os').mkdir('marker')")
    ),
    "huge width": changed_json("config.json", set_in("model", dim=2**40, ffn_dim=2**40)),
    "manifest with a path upwards": manifest_of_a_path("../../evil.json"),
    "manifest with an absolute path": manifest_of_a_path("/etc/passwd"),
    "manifest with a NUL": manifest_of_a_path("a\0.json"),
    "deep text": written("loop.json", b"[" * 10**6),
    "no configuration": written("config.json", b"{}"),
    "a number as the configuration": written("config.json", b"1"),
    "other random state": updated("rank-00000.json", rng={"plain": {}, "tensors": {}}),
    "a callable as the optimizer": changed_json(
        "config.json", set_in("optimizer", name="torch.load")
    ),
    "marker that names an import": updated("trainer.json", **{"$import": "os"}),
}


def checkpoint_cases(finished: Path, folder: Path, marker: Path) -> Iterator[Case]:
    text = finished.parent.parent.parent / "text"
    for name, change in EVIL_CHECKPOINTS.items():
        shutil.rmtree(folder / "run", ignore_errors=True)
        checkpoint = folder / "run" / "checkpoints" / finished.name
        shutil.copytree(finished, checkpoint)
        change(checkpoint, marker)
        if not name.startswith("manifest") and name != "link to a secret":
            resign(checkpoint)
        config = config_of(text, folder / "run")
        yield f"{name}: info", lambda c=checkpoint: list(pages([f"checkpoint={c}"]))
        yield f"{name}: load", lambda c=checkpoint: load(c, device="cpu").translate(["a"])
        yield f"{name}: continue", lambda config=config: train(config)


def test_30_malicious_checkpoints_run_nothing(finished: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    outcomes = run_cases(checkpoint_cases(finished, tmp_path, marker))
    assert len(EVIL_CHECKPOINTS) >= 30
    assert len(outcomes) == 3 * len(EVIL_CHECKPOINTS)
    require_documented(outcomes)
    assert not marker.exists()
    refused: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        assert SECRET not in outcome.message
        if outcome.exit_code:
            refused.setdefault(outcome.name.partition(":")[0], []).append(outcome)
    assert refused.keys() == EVIL_CHECKPOINTS.keys()


TRICKS = (
    "run.lock",
    "config.json",
    "metrics.jsonl",
    "test_metrics.json",
    "tensorboard",
    "checkpoints/best.json",
    "checkpoints/step-0000000001",
    "checkpoints/step-0000000002",
    "checkpoints/.tmp-notes",
    f"checkpoints/.tmp-step-0000000002-{'0' * 32}",
    f"checkpoints/.trash-step-0000000001-{'0' * 32}",
    f"checkpoints/.tmp-best.json-{'0' * 32}",
)


def test_links_in_the_run_folder_lead_nowhere(finished: Path, tmp_path: Path) -> None:
    """12 path tricks: what a link points to is neither changed nor deleted."""
    text = finished.parent.parent.parent / "text"
    victim_file, victim_folder = tmp_path / "victim.txt", tmp_path / "victim"
    victim_folder.mkdir()
    victim_file.write_text("precious")
    (victim_folder / "file").write_text("precious")

    def cases() -> Iterator[Case]:
        for trick in TRICKS:
            run_dir = tmp_path / "runs" / trick.replace("/", "-")
            (run_dir / trick).parent.mkdir(parents=True)
            is_file = "." in Path(trick).name.removeprefix(".tmp-") and "step" not in trick
            (run_dir / trick).symlink_to(victim_file if is_file else victim_folder)
            config = config_of(text, run_dir)
            config["log_writer"]["tensorboard"] = {}
            yield trick, lambda config=config: train(config)

    outcomes = run_cases(cases())
    assert len(outcomes) >= 10
    require_documented(outcomes)
    assert victim_file.read_text() == "precious"
    assert [path.name for path in victim_folder.iterdir()] == ["file"], outcomes
    assert (victim_folder / "file").read_text() == "precious"


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path) -> None:
    """Hydra imports every hydra_plugins package that it finds on the path."""
    marker = tmp_path / "marker"
    evil = f"import os\nos.mkdir({str(marker)!r})\n"
    for name in ("hydra_plugins/evil/__init__.py", "seqtrain_plugins.py", "sitecustomize_.py",
                 "sentencepiece.py", "yaml.py", "config/__init__.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(evil)
    text = write_toy_text(tmp_path / "text")
    program = Path(sys.executable).with_name("seqtrain-train")
    words = overrides(toy_config(text, tmp_path / "run", optimization={"max_update": 1}))
    status = os.spawnv(os.P_WAIT, program, [str(program), *words])
    assert status == 0
    assert not marker.exists()
