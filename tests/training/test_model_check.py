"""A model that does not fit a task is refused with those that do."""

from pathlib import Path

import pytest
import torch
from toy_text import toy_text_config, write_toy_documents

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError
from seqtrain.plugins import import_built_ins
from seqtrain.training.build import build_run
from seqtrain.training.run_config import RunConfig

import_built_ins()


@pytest.mark.parametrize(
    ("task", "model", "expected"),
    [
        (
            "language_modeling",
            "transformer",
            "model=transformer needs a source text, which this task does not have. For "
            "task=language_modeling write model=lstm_lm or model=transformer_lm.",
        ),
        (
            "language_modeling",
            "dlinear",
            "model=dlinear needs rows that are known and rows to forecast and channels of values, "
            "which this task does not have. For task=language_modeling write model=lstm_lm or "
            "model=transformer_lm.",
        ),
        (
            "masked_lm",
            "transformer",
            "model=transformer reads other inputs. For task=masked_lm write "
            "model=transformer_encoder.",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_models_that_do(
    tmp_path: Path, task: str, model: str, expected: str
) -> None:
    folder = write_toy_documents(tmp_path, num_train=4, num_valid=3)
    config = RunConfig.parse(toy_text_config(folder, folder / "run", task, {"name": model}))
    with pytest.raises(ConfigError) as failure:
        build_run(config, Collectives(), torch.device("cpu"))
    assert str(failure.value) == expected
