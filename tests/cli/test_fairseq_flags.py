"""What is said to somebody who types fairseq's flags."""

import dataclasses
from typing import Any

import pytest

from seqtrain.plugins import load_plugins
from seqtrain.registry import registries
from seqtrain.training.run_config import RunConfig
from seqtrain_cli.described_fields import described_fields
from seqtrain_cli.fairseq_flags import INSTEAD, KEYS, SWITCH_VALUES
from seqtrain_cli.schemas import AverageConfig, EvaluateConfig, GenerateConfig, PreprocessConfig


def known_keys() -> set[str]:
    """Returns every dotted key that some command takes, with some choice of components."""
    load_plugins([])
    keys = {spec.name for spec in dataclasses.fields(RunConfig)} | {"language_model"}
    keys |= {field.key for field in described_fields(RunConfig())}
    for schema in (GenerateConfig, EvaluateConfig, PreprocessConfig, AverageConfig):
        keys |= {spec.name for spec in dataclasses.fields(schema)}
    for kind, registry in registries().items():
        for name in registry.names():
            prefix = f"{kind}.{name}." if registry.many else f"{kind}."
            config = registry.get(name).config(name=name)
            keys |= {field.key for field in described_fields(config, prefix)}
    return keys


def test_every_hint_names_a_key_that_exists() -> None:
    known = known_keys()
    assert {flag: key for flag, key in KEYS.items() if key not in known} == {}
    assert SWITCH_VALUES.keys() <= KEYS.keys()
    assert not KEYS.keys() & INSTEAD.keys()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--encoder-embed-dim 512", "Did you mean model.dim=512?"),
        ("--share-all-embeddings", "Did you mean model.share_embeddings=all?"),
        ("--encoder-normalize-before", "Did you mean model.norm=pre?"),
        ("--no-epoch-checkpoints --save-dir x", "Did you mean checkpoint.save_interval=0?"),
        ("--joined_dictionary", "Did you mean task.joined=true?"),
        ("--remove-bpe", "not an option here: outputs are always joined into text"),
        ("--reset-optimizer", "a new run_dir with checkpoint.init_from takes the weights alone."),
        ("--ddp-backend=no_c10d", "distributed.strategy says how processes work together."),
    ],
)
def test_a_flag_is_answered_with_what_to_write(compose: Any, words: str, answer: str) -> None:
    outcome = compose(*words.split())
    assert answer in outcome.error
    assert (outcome.exit_code, outcome.error.count("\n")) == (2, 1)


def test_switches_have_values_that_are_accepted(compose: Any) -> None:
    other_task = ("task.masking.units", "generation.print_alignment")
    words = {KEYS[flag]: value for flag, value in SWITCH_VALUES.items()}
    plain = [f"{key}={value}" for key, value in words.items() if key not in other_task]
    assert compose(*plain).config.model.norm == "pre"
    assert compose("task=masked_lm", "task.masking.units=word").exit_code == 0
