"""seqtrain-info on presets and experiments."""

from pathlib import Path

import pytest

from seqtrain_cli.info import main as info


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")


def test_presets_are_listed_with_their_component(capsys: pytest.CaptureFixture[str]) -> None:
    assert info(["model"]) == 0
    printed = capsys.readouterr().out
    assert "gpt2_large                   preset of transformer_lm: The sizes of GPT-2" in printed
    assert info([]) == 0
    printed = capsys.readouterr().out
    assert "presets: bert_base, " in printed
    assert "\nexperiment     etth1_base, " in printed


def test_a_preset_is_explained_by_the_fields_that_it_and_its_bases_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert info(["model=llama_1b"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("llama_1b: The sizes of Llama 3.2 1B")
    assert "config/model/llama_1b.yaml\nfile " in printed
    assert "sets these fields of model=transformer_lm:\n" in printed
    assert "  dim: int = 2048\n      Width of embeddings" in printed
    assert "  norm_type: str = 'rmsnorm'\n" in printed
    assert "attention_dropout" not in printed


def test_an_experiment_is_explained_by_what_it_and_its_bases_choose_and_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert info(["experiment=etth1_dlinear"]) == 0
    printed = capsys.readouterr().out
    assert "chooses model=dlinear task=forecasting " in printed
    assert "  optimizer.lr = 0.005\n" in printed
    assert "  task.horizon = 96\n" in printed


def test_files_of_ones_own_are_listed_even_where_one_of_them_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (
        ("config/model/narrow.yaml", "# Narrow.\ndefaults: [lstm, _self_]\ndim: 12\n"),
        ("config/model/untyped.yaml", "dim: 12\n"),
        ("mine/experiment/broken.yaml", "model: [\n"),
        ("mine/experiment/headless.yaml", "seed: 1\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    words = ["--config-dir", "mine", "experiment", "model", "model=untyped", "experiment=headless"]
    assert info(words) == 0
    printed = capsys.readouterr().out
    assert "narrow                       preset of lstm: Narrow.\n" in printed
    assert "broken                       not usable: mine/experiment/broken.yaml is not" in printed
    assert "not usable: it must begin with `defaults: [NAME, _self_]`" in printed
    assert "not usable: mine/experiment/headless.yaml: the first line must be" in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=nope"], "No model named 'nope'"),
        (["experiment=nope"], "There is no experiment named 'nope'. Known: etth1_base, "),
        (["transformer"], "It is the name of a model: write model=transformer."),
        (["experimnt"], "Did you mean 'experiment'?"),
    ],
)
def test_a_name_that_is_nothing_gets_one_line(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info(words) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
