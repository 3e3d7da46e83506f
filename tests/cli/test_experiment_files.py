"""Experiments and presets that users write: where they are found, and what is said of mistakes."""

import os
from pathlib import Path
from typing import Any

import pytest

from seqtrain.plugins import import_built_ins
from seqtrain_cli.config_folders import find_config_dir, groups
from seqtrain_cli.explain_files import fault_in
from seqtrain_cli.presets import preset_paths, read_preset

GLOBAL = "# @package _global_\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


FAULTS_OF_FORM = {
    "no_header": ("seed: 3\n", "the first line must be `# @package _global_`"),
    "empty": ("", "the file is empty. Write sections"),
    "a_list": (GLOBAL + "- seed\n", "the file holds no keys"),
    "choice_as_value": (
        GLOBAL + "model: transformer_tiny\n",
        "a model is chosen below `defaults:`, by `- override /model: transformer_tiny`",
    ),
    "choices_as_value": (GLOBAL + "log_writer: [jsonl]\n", "`- override /log_writer: [jsonl]`"),
    "no_slash": (
        GLOBAL + "defaults: [override model: lstm]\n",
        "write `- override /model: lstm`, not `- override model: lstm`",
    ),
    "no_override": (
        GLOBAL + "defaults: [model: lstm]\n",
        "write `- override /model: lstm`, not `- model: lstm`",
    ),
    "unknown_kind": (GLOBAL + "defaults: [override /modle: lstm]\n", "Did you mean /model?"),
    "mapping": (GLOBAL + "defaults: {override /model: lstm}\n", "defaults must be a list"),
    "dotted": (GLOBAL + "optimizer.lr: 3\n", "'optimizer.lr' must be nested: `optimizer:`"),
    "no_fields": (GLOBAL + "optimization: 3\n", "optimization is a section: write its fields"),
}
FAULTS = {
    "no_header": FAULTS_OF_FORM["no_header"],
    "choice_as_value": FAULTS_OF_FORM["choice_as_value"],
    "mapping": FAULTS_OF_FORM["mapping"],
    "unknown_key": (GLOBAL + "model:\n  dmi: 3\n", "'model.dmi'. Did you mean model.dim?"),
    "key_of_the_chosen": (
        GLOBAL + "defaults: [override /model: lstm]\nmodel:\n  droput: 3\n",
        "Did you mean model.dropout? Known in model: decoder_layers, dim, dropout,",
    ),
    "unknown_section": (GLOBAL + "optimisation: {}\n", "Did you mean optimization?"),
    "moved_key": (GLOBAL + "lr: 3\n", "There is no key 'lr'. Did you mean optimizer.lr?"),
    "wrong_value": (GLOBAL + "model:\n  dim: abc\n", "model.dim: Width of embeddings"),
    "by_name": (
        GLOBAL + "model:\n  name: lstm\n  num_layers: 2\n",
        "a model is chosen below `defaults:`, by `- override /model: lstm`",
    ),
    "not_yaml": (GLOBAL + "model: [\n", "is not valid YAML"),
}


@pytest.mark.parametrize("fault", FAULTS_OF_FORM)
def test_a_fault_of_form_is_told_with_the_file_and_the_way_out(tmp_path: Path, fault: str) -> None:
    import_built_ins()
    text, expected = FAULTS_OF_FORM[fault]
    path = write(tmp_path / "experiment/own.yaml", text)
    preset = read_preset("experiment", "own", [tmp_path])
    assert preset is not None
    found = fault_in(preset)
    assert found is not None
    assert found.startswith(f"{path}: ")
    assert expected in found
    assert "\n" not in found


def test_the_experiments_of_the_project_have_no_fault_of_form() -> None:
    import_built_ins()
    folders = [find_config_dir()]
    for group in groups():
        for name in preset_paths(group, folders):
            preset = read_preset(group, name, folders)
            assert preset is not None
            assert fault_in(preset) is None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_an_experiment_is_one_line_with_its_file_and_the_way_out(
    compose: Any, tmp_path: Path, fault: str
) -> None:
    text, expected = FAULTS[fault]
    write(tmp_path / "mine/experiment/own.yaml", text)
    outcome = compose("--config-dir", "mine", "experiment=own")
    assert outcome.error.startswith("seqtrain-train: error: mine/experiment/own.yaml")
    assert expected in outcome.error
    assert (outcome.exit_code, outcome.error.count("\n")) == (2, 1)


def test_a_preset_named_as_a_field_is_told_how_to_be_chosen(compose: Any, tmp_path: Path) -> None:
    write(tmp_path / "config/experiment/own.yaml", GLOBAL + "model: {name: transformer_tiny}\n")
    for words in (["experiment=own"], ["model.name=transformer_tiny"]):
        outcome = compose(*words)
        assert "model.name=transformer_tiny does not choose a model. Write model=" in outcome.error
        assert "`- override /model: transformer_tiny` below `defaults:`" in outcome.error


def test_an_unknown_choice_names_the_file_that_asks_for_it(compose: Any, tmp_path: Path) -> None:
    write(tmp_path / "config/experiment/own.yaml", GLOBAL + "defaults: [override /model: lsmt]\n")
    error = compose("experiment=own").error
    assert "no model named 'lsmt' (" in error
    assert "config/experiment/own.yaml asks for it). Did you mean model=lstm" in error


def test_the_folder_config_where_one_works_needs_no_option(compose: Any, tmp_path: Path) -> None:
    write(tmp_path / "config/model/narrow.yaml", "defaults: [lstm, _self_]\ndim: 12\n")
    text = GLOBAL + "defaults: [override /model: narrow]\nseed: 9\n"
    write(tmp_path / "config/experiment/own.yaml", text)
    config = compose("experiment=own").config
    assert (config.model.name, config.model.dim, config.seed) == ("lstm", 12, 9)


def test_completion_knows_the_experiments_where_one_works(
    compose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "config/experiment/own_one.yaml", GLOBAL + "seed: 9\n")
    monkeypatch.setitem(os.environ, "COMP_LINE", "seqtrain-train experiment=own")
    assert compose("-sc", "query=bash").out.split() == ["experiment=own_one"]


def test_a_file_of_ones_own_can_run_no_code_and_read_no_environment(
    compose: Any, tmp_path: Path
) -> None:
    path = tmp_path / "config/experiment/own.yaml"
    write(path, GLOBAL + "hydra: {callbacks: {a: {_target_: os.getcwd}}}\n")
    assert "hydra.callbacks is refused" in compose("experiment=own").error
    write(path, GLOBAL + "run_dir: ${oc.env:HOME}\n")
    assert "is refused" in compose("experiment=own").error


def test_two_files_of_one_name_are_refused_once_they_are_chosen(
    compose: Any, tmp_path: Path
) -> None:
    write(tmp_path / "config/model/transformer_tiny.yaml", "defaults: [lstm, _self_]\n")
    write(tmp_path / "config/model/lstm.yaml", "dim: 7\n")
    write(tmp_path / "config/experiment/g2p_cmudict.yaml", GLOBAL + "seed: 9\n")
    assert compose("model=transformer").exit_code == 0
    outcome = compose("model=transformer_tiny")
    assert "config/model/transformer_tiny.yaml. Rename one of them." in outcome.error
    assert "could mean the component or config/model/lstm.yaml" in compose("model=lstm").error
    assert "experiment=g2p_cmudict could mean " in compose("experiment=g2p_cmudict").error


def test_a_folder_config_of_another_program_is_left_alone(compose: Any, tmp_path: Path) -> None:
    write(tmp_path / "config/model/narrow.yaml", "defaults: [lstm, _self_]\n")
    write(tmp_path / "config/generate.yaml", "x: 1\n")
    assert "no model named 'narrow'" in compose("model=narrow").error


def test_a_preset_of_no_component_is_told_how_it_begins(compose: Any, tmp_path: Path) -> None:
    write(tmp_path / "config/model/narrow.yaml", "dim: 12\n")
    error = compose("model=narrow").error
    assert "model=narrow is a preset of no component" in error
    assert "`defaults: [NAME, _self_]`" in error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("experiment=mine/experiment/own.yaml", "Write --config-dir mine experiment=own."),
        ("experiment=config/experiment/own", "is a name, not a path. Write experiment=own."),
        ("experiment=./own.yaml", "with --config-dir FOLDER, and write experiment=own."),
        ("experiment=nope", "or in FOLDER/experiment with --config-dir FOLDER."),
    ],
)
def test_an_experiment_by_its_path_is_told_its_name(
    compose: Any, tmp_path: Path, words: str, expected: str
) -> None:
    outcome = compose(words)
    assert expected in outcome.error
    assert outcome.exit_code == 2
