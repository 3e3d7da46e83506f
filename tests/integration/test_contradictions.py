"""Settings that are each possible and cannot go together end before anything is trained."""

from pathlib import Path
from typing import Any

import pytest
from toy_run import toy_config, write_toy_text

from seqtrain.errors import ConfigError
from seqtrain.pipeline import train

CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"model": {"name": "transformer_lm"}}, "model=transformer_lm reads other inputs. For"),
    (
        {"model": {"name": "transformer_encoder"}},
        "For task=translation write model=lstm or model=lstm_input_feeding or",
    ),
    ({"validation": {"test_split": "nope"}}, "validation.test_split names 'nope'"),
    ({"generation": {"lm_weight": 0.5}}, "give it to seqtrain-generate"),
    (
        {"distributed": {"static_graph": True}, "optimization": {"update_freq": 2}},
        "static_graph=true needs one micro-batch for each process and update, got 2",
    ),
    (
        {"distributed": {"static_graph": True, "deterministic_elastic": True}},
        "deterministic_elastic=true adds gradients itself",
    ),
]


@pytest.mark.parametrize(
    ("sections", "message"), CONTRADICTIONS, ids=[m for _, m in CONTRADICTIONS]
)
def test_what_cannot_go_together_is_refused_by_name(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    text = write_toy_text(tmp_path / "text", num_train=8, num_valid=2)
    config = toy_config(text, tmp_path / "run")
    for name, section in sections.items():
        config[name] = section if name == "model" else config.get(name, {}) | section
    with pytest.raises(ConfigError) as failure:
        train(config)
    assert message in str(failure.value)
    assert not list((tmp_path / "run").rglob("step-*"))
