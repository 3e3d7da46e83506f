"""What people type: what is accepted, and what is said about the rest."""

import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from seqtrain.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DistributedError,
    MachineError,
    NumericError,
)

MISTAKES = [
    # Choices and keys that do not exist.
    ("model=transfomer", "no model named 'transfomer'. Did you mean model=transformer"),
    ("model=zzz", "There is no model named 'zzz'. Known: "),
    ("model.dmi=3", "no key 'model.dmi'. Did you mean model.dim?"),
    ("lr=3", "Did you mean optimizer.lr?"),
    ("model.heads=2", "Did you mean model.num_heads"),
    ("warmup=3", "Did you mean lr_scheduler.warmup_updates"),
    ("modle=transformer", "Did you mean model?"),
    ("optimization.max_updates=3", "Did you mean optimization.max_update?"),
    ("lr_scheduler.decay_updates=3", "It belongs to lr_scheduler=cosine,"),
    ("experiment=g2p_cmudcit", "Did you mean experiment=g2p_cmudict?"),
    ("log_writer=jsno", "Did you mean log_writer=jsonl?"),
    ("optimisation.max_update=3", "no section 'optimisation'. Did you mean optimization.max_up"),
    ("tokenizer.vocab_size=5", "no section 'tokenizer'. Did you mean task.vocab_size?"),
    ("task.tokenizer.vocab_size=5", "task.tokenizer is one value, as in task.tokenizer=sentence"),
    ("task.tokenizer.vocab_size=5", "=sentencepiece. Did you mean task.vocab_size?"),
    ("task.tokenizer.model_type=bpe", "Did you mean task.tokenizer_options.model_type?"),
    ("optimization.max_update.x=3", "optimization.max_update is one value, as in"),
    ("model.encoder.layers=3", "Did you mean model.encoder_layers or"),
    ("optimizer.groups=[{patern:x}]", "optimizer.groups: There is no key 'patern'. Did you mean"),
    ("hydra.run.dri=x", "Did you mean hydra.run.dir?"),
    # Hydra accepts these without a word.
    ("model.name=lstm", "model.name=lstm does not choose a model. Write model=lstm;"),
    ("+model.foo=3", "no key 'model.foo'"),
    ("~model", "model is not chosen: write model=NAME"),
    # Values.
    ("optimizer.lr=abc", "optimizer.lr: The peak learning rate"),
    ("optimizer.lr=abc", "'abc' of type 'str' could not be converted to Float"),
    ("optimizer.lr=-1", "optimizer.lr must be positive, got -1.0"),
    ("dataset.max_tokens=-1", "dataset.max_tokens must not be negative, got -1"),
    ("seed=${oc.env:SEQTRAIN_NO_SUCH}", "seed: "),
    ("device=tpu", "device must be one of auto, cpu, cuda, got 'tpu'"),
    # Grammar.
    ("optimizer=[adam", "Quote the whole argument for the shell"),
    ("run_dir=/a=b", """'run_dir="/a=b"'"""),
    ("task.data=a,b", """'task.data="a,b"'"""),
    ("optimizer.lr 0.1", "Write optimizer.lr=0.1."),
    ("optimizer.lr", "Write optimizer.lr=VALUE."),
    ("runs/first", "is a path without a key. Write KEY=runs/first; --help lists the keys."),
    ("my/runs.yaml", "is a path without a key. Write experiment=runs;"),
    ("--config my.yaml", "'--config' is not an option here: write experiment=NAME, or"),
    ("--lr=3", "without dashes, as key=value. Did you mean optimizer.lr=3?"),
    ("--max-tokens 4096", "Did you mean dataset.max_tokens=4096?"),
    ("--arch transformer", "Did you mean model=transformer?"),
    ("--user-dir=./mine", "Did you mean plugins=./mine?"),
    ("--cpu", "Did you mean device=cpu?"),
    ("--fp16", "Did you mean precision.dtype=bf16?"),
    ("-s de", "Did you mean task.source=de?"),
    ("--optimizer.lr=3", "Did you mean optimizer.lr=3?"),
    ("--experimental-rerun x.pkl", "is not an option"),
]


@pytest.mark.parametrize(("line", "expected"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_gets_one_line_with_the_way_out_and_exit_code_2(
    compose: Any, line: str, expected: str
) -> None:
    outcome = compose(*line.split())
    assert expected in outcome.error
    assert outcome.error.startswith("seqtrain-train: error: ")
    assert outcome.error.count("\n") == 1
    assert outcome.exit_code == 2
    assert not outcome.configs


def test_two_mistakes_at_once_still_name_the_first(compose: Any) -> None:
    assert "'model.dmi'" in compose("model.dmi=3", "model.hads=2").error


def test_one_value_of_a_list_needs_no_brackets(compose: Any) -> None:
    config = compose("validation.splits=test", "optimizer.betas=[0.1,0.2]").config
    assert config.validation.splits == ["test"]
    assert config.optimizer.betas == [0.1, 0.2]


def test_a_free_mapping_takes_new_keys(compose: Any) -> None:
    config = compose("checkpoint.init_prefixes.decoder=encoder").config
    assert config.checkpoint.init_prefixes == {"decoder": "encoder"}


def test_a_plus_before_experiment_is_accepted(compose: Any) -> None:
    assert compose("+experiment=g2p_cmudict").config.run_dir == "runs/g2p_cmudict"


def test_the_command_line_wins_over_the_experiment(compose: Any) -> None:
    config = compose("experiment=g2p_cmudict", "model.dim=64", "seed=3", "seed=4").config
    assert (config.model.dim, config.model.ffn_dim, config.seed) == (64, 512, 4)


def test_components_are_chosen_by_name_and_set_by_field(compose: Any) -> None:
    config = compose("optimizer=sgd", "optimizer.momentum=0.9", "log_writer=jsonl").config
    assert (config.optimizer.name, config.optimizer.momentum) == ("sgd", 0.9)
    assert list(config.log_writer) == ["jsonl"]


def test_no_choice_of_several_is_possible(compose: Any) -> None:
    assert compose("log_writer=[]").config.log_writer == {}


def test_a_folder_of_ones_own_presets_is_found(compose: Any, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [override /optimizer: sgd]\nseed: 9\n"
    (tmp_path / "mine/experiment/small.yaml").write_text(text)
    config = compose("--config-dir", "mine", "experiment=small").config
    assert (config.optimizer.name, config.seed) == ("sgd", 9)
    mistake = compose("--config-dir", "mine", "experiment=small", "optimizer.betas=[0.9,0.9]")
    assert "It belongs to optimizer=adam, " in mistake.error


def test_a_missing_folder_of_presets_is_named(compose: Any) -> None:
    outcome = compose("--config-dir", "nowhere", "seed=1")
    assert outcome.exit_code == 2
    assert "nowhere" in outcome.error


def test_composing_writes_no_files(compose: Any, tmp_path: Path) -> None:
    assert compose("seed=2").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_runs_every_combination_each_in_its_own_folder(compose: Any) -> None:
    outcome = compose("-m", "seed=1,2", "optimizer=adam,sgd", "run_dir=sweep")
    assert outcome.exit_code == 0
    assert [(c.seed, c.optimizer.name, c.run_dir) for c in outcome.configs] == [
        (1, "adam", "sweep/0"),
        (1, "sgd", "sweep/1"),
        (2, "adam", "sweep/2"),
        (2, "sgd", "sweep/3"),
    ]


def test_cfg_prints_the_composed_configuration(compose: Any) -> None:
    outcome = compose("--cfg", "job", "optimizer.lr=0.5")
    assert (outcome.exit_code, outcome.configs) == (0, [])
    printed = OmegaConf.create(outcome.out)
    assert printed.optimizer.lr == 0.5
    assert printed.validation.splits == ["valid"]
    assert "hydra" not in printed


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ConfigError, 2),
        (DataError, 3),
        (CheckpointError, 4),
        (MachineError, 5),
        (DistributedError, 6),
        (NumericError, 7),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    compose: Any, error: type[Exception], exit_code: int
) -> None:
    def fail(container: dict[str, Any]) -> None:
        raise error("the reason.")

    outcome = compose("seed=1", run=fail)
    assert outcome.exit_code == exit_code
    assert outcome.error == "seqtrain-train: error: the reason.\n"


def test_debug_gives_the_traceback_above_the_line(compose: Any) -> None:
    def fail(container: dict[str, Any]) -> None:
        raise DataError("the reason.")

    outcome = compose("debug=true", run=fail)
    assert "Traceback" in outcome.error
    assert "in fail" in outcome.error
    assert outcome.error.endswith("seqtrain-train: error: the reason.\n")


def test_a_bug_goes_up_as_it_is(compose: Any) -> None:
    def fail(container: dict[str, Any]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compose("seed=1", run=fail)


def test_an_interrupt_ends_with_130(compose: Any) -> None:
    def interrupt(container: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    assert compose("seed=1", run=interrupt).exit_code == 130


def test_a_command_may_choose_its_exit_code(compose: Any) -> None:
    def leave(container: dict[str, Any]) -> None:
        raise SystemExit(143)

    assert compose("seed=1", run=leave).exit_code == 143


def test_completion_offers_fields_and_names(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "COMP_LINE", "seqtrain-train optimizer.l")
    assert compose("-sc", "query=bash").out.split() == ["optimizer.lr="]
    monkeypatch.setitem(os.environ, "COMP_LINE", "seqtrain-train lr_scheduler=")
    assert "lr_scheduler=cosine" in compose("-sc", "query=bash").out.split()


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("bash", "complete -o nospace -o default -F hydra_bash_completion seqtrain-train"),
        ("zsh", "complete -o nospace -o default -F hydra_bash_completion seqtrain-train"),
        ("fish", "complete -c seqtrain-train -x -a '(hydra_fish_completion)'"),
    ],
)
def test_completion_is_installed_for_each_shell(compose: Any, shell: str, expected: str) -> None:
    assert expected in compose("-sc", f"install={shell}").out
