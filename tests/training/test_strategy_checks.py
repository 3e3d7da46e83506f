from pathlib import Path
from typing import Any

import pytest
from toy_run import toy_config

from seqtrain.errors import ConfigError
from seqtrain.plugins import import_built_ins
from seqtrain.training.run_config import RunConfig
from seqtrain.training.strategy_checks import refuse_unfit_settings

import_built_ins()
FSDP = {"strategy": "fsdp"}
BF16 = {"dtype": "bf16", "parameters": "bf16"}


def config(tmp_path: Path, **sections: Any) -> RunConfig:
    return RunConfig.parse(toy_config(tmp_path / "text", tmp_path / "run", **sections))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"distributed": FSDP, "precision": BF16},
            "distributed.strategy=fsdp needs precision.parameters=fp32",
        ),
        (
            {"distributed": {"tensor_parallel": 2}, "precision": BF16},
            "distributed.tensor_parallel needs precision.parameters=fp32",
        ),
        (
            {"distributed": FSDP | {"gather_dtype": "bf16"}},
            "distributed.gather_dtype=bf16 needs precision.dtype=bf16, got fp32",
        ),
        (
            {"distributed": FSDP, "optimization": {"grad_noise": 0.1}},
            "optimization.grad_noise is drawn for whole gradients",
        ),
    ],
)
def test_settings_that_need_whole_parameters_are_refused(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_unfit_settings(config(tmp_path, **sections))


def test_they_go_with_whole_parameters(tmp_path: Path) -> None:
    noise = {"grad_noise": 0.1}
    refuse_unfit_settings(config(tmp_path, precision=BF16, optimization=noise))
