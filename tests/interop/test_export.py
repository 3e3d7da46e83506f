"""Exports appear complete or not at all, replace nothing else, and load as what they were."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_models import language_model, translation_model
from toy_run import toy_config, write_toy_text

from seqtrain.checkpoint.load import resolve
from seqtrain.errors import ConfigError, MachineError
from seqtrain.interop.export import ExportRequest, export
from seqtrain.interop.export_ctranslate2 import write_ctranslate2
from seqtrain.interop.export_folder import export_folder
from seqtrain.interop.export_huggingface import write_huggingface
from seqtrain.interop.export_onnx import write_onnx
from seqtrain.pipeline import load, train
from seqtrain_cli.entry import run_command
from seqtrain_cli.export import COMMAND
from seqtrain_cli.generate import COMMAND as GENERATE

LINES = ["a b c", "f e d c", "b"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that keeps an average of its weights."""
    folder = tmp_path_factory.mktemp("export")
    text = write_toy_text(folder / "text")
    train(
        toy_config(
            text,
            folder / "run",
            ema={"kind": "ema", "decay": 0.5},
            optimization={"max_epoch": 0, "max_update": 6},
        )
    )
    return folder / "run"


def test_a_safetensors_folder_loads_as_the_run_that_it_is_from(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(ExportRequest(run, "safetensors", out))
    trained, exported = load(run, "cpu"), load(out, "cpu")
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(exported.model.state_dict()[name], tensor)
    assert exported.translate(LINES) == trained.translate(LINES)
    generation = trained.config.generation
    expected = trained.evaluate("test", generation, False).values
    assert exported.evaluate("test", generation, False).values == expected
    names = {path.name for path in out.iterdir()}
    assert names == {"manifest.json", "config.json", "task.json", "model.json", "criterion.json",
                     "model.safetensors"}  # fmt: skip


def test_every_format_tells_where_it_is_from(run: Path, tmp_path: Path) -> None:
    for name in ("huggingface", "safetensors"):
        export(ExportRequest(run, name, tmp_path / name))
    card = json.loads((tmp_path / "huggingface/seqtrain_export.json").read_text())
    assert card["format"] == "huggingface"
    assert card["checkpoint"] == resolve(run).name
    manifest = json.loads((tmp_path / "safetensors/manifest.json").read_text())
    assert manifest["about"]["exported"]["from"] == resolve(run).name
    assert manifest["about"]["exported"]["sha256"] == card["sha256"]


@pytest.mark.parametrize("name", ["safetensors", "huggingface"])
def test_an_earlier_export_is_replaced_only_if_told(name: str, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(ExportRequest(run, "safetensors", out))
    with pytest.raises(ConfigError, match="out=.* is there. Name a new folder, or set overwrite"):
        export(ExportRequest(run, name, out))
    export(ExportRequest(run, name, out, overwrite=True))
    export(ExportRequest(run, "huggingface", out, overwrite=True))
    assert (out / "seqtrain_export.json").exists()
    assert not (out / "manifest.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_no_export_wrote_is_never_replaced(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for path, message in (
        (out, "holds files that seqtrain-export did not write"),
        (run, "holds files that seqtrain-export did not write"),
        (resolve(run), "holds files that seqtrain-export did not write"),
        (out / "thesis.txt", "is there and no folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            export(ExportRequest(run, "safetensors", path, overwrite=True))
    assert (out / "thesis.txt").read_text() == "years of work"
    assert load(run, "cpu").translate(LINES)


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with export_folder(tmp_path / "deep/out", overwrite=False) as folder:
            (folder / "part").write_text("half of it")
            raise OSError(28, "No space left on device")

    with pytest.raises(MachineError, match="No space left"):
        write()
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"format": "pickle"}, "format must be one of safetensors, .*, got 'pickle'"),
        ({"format": "onnx", "quantization": "int8"}, "quantization=int8 is for format=ctrans"),
        ({"format": "ctranslate2", "quantization": "int3"}, "quantization must be one of int8"),
    ],
)
def test_a_wrong_setting_is_told_by_its_key(
    wishes: dict[str, str], message: str, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(ExportRequest(checkpoint=run, out=tmp_path / "out", **wishes))
    assert not (tmp_path / "out").exists()


def test_the_command_exports_what_seqtrain_generate_reads(
    run: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    assert run_command(COMMAND, [f"checkpoint={run}", "format=safetensors", f"out={out}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"written to {out}"
    text = tmp_path / "lines"
    text.write_text("\n".join(LINES))
    assert run_command(GENERATE, [f"checkpoint={out}", f"input={text}"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    texts = [row["hypotheses"][0]["text"] for row in rows]
    assert texts == load(run, "cpu").translate(LINES)


@pytest.mark.parametrize(
    ("make", "model", "message"),
    [
        (translation_model, {"norm": "post", "positions": "fairseq"}, "model.positions=fairseq"),
        (translation_model, {"name": "lstm"}, "no model like model=lstm"),
        (language_model, {"norm": "post"}, "model.norm=post"),
        (language_model, {"positions": "none"}, "model.positions=none"),
        (language_model, {"norm_type": "rmsnorm"}, "model.activation=gelu"),
        (language_model, {"activation": "swiglu"}, "model.activation=swiglu"),
        (language_model, {"num_key_heads": 1}, "model.num_key_heads=1"),
        (language_model, {"positions": "learned", "norm_type": "rmsnorm"},
         "model.norm_type=rmsnorm"),
    ],
)  # fmt: skip
def test_a_shape_that_transformers_has_not_is_refused_by_its_key(
    make: Any, model: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_huggingface(make(tmp_path, model), tmp_path)


def test_a_larger_source_vocabulary_needs_a_model_with_two_sizes(tmp_path: Path) -> None:
    task = {"joined": False, "tokenizer": "byte", "target_tokenizer": "word"}
    pipeline = translation_model(tmp_path, {"norm": "pre"}, task)
    with pytest.raises(ConfigError, match="M2M100.* the source has 260 symbols, the target 10"):
        write_huggingface(pipeline, tmp_path)
    write_huggingface(translation_model(tmp_path, {"norm": "post"}, task), tmp_path)


@pytest.mark.parametrize(
    ("write", "package", "extra"),
    [(write_onnx, "onnxruntime", "onnx"), (write_ctranslate2, "ctranslate2", "ctranslate2")],
)
def test_a_missing_package_is_told_with_the_extra_that_brings_it(
    write: Any, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    with pytest.raises(MachineError, match=rf"pip install 'seqtrain\[{extra}\]'"):
        write(translation_model(tmp_path), tmp_path)
