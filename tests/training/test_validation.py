from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import toy_config, write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.plugins import load_plugins
from seqtrain.training.build import build_run
from seqtrain.training.run_config import RunConfig
from seqtrain.training.validation import Validation

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("checkpoint", "is_noted"),
    [
        ({"best_metric": "valid_loss", "maximize_best_metric": True}, True),
        ({"best_metric": "valid_ppl", "maximize_best_metric": True}, True),
        ({"best_metric": "valid_wer", "maximize_best_metric": True}, False),
        ({"best_metric": "valid_loss"}, False),
    ],
)
def test_a_loss_that_is_maximised_is_noted(
    tmp_path: Path, checkpoint: dict[str, Any], is_noted: bool
) -> None:
    load_plugins([])
    text = write_toy_text(tmp_path / "text", num_train=4, num_valid=2)
    config = toy_config(
        text, tmp_path / "run", checkpoint=checkpoint, validation={"generate": True}
    )
    run = build_run(RunConfig.parse(config), Collectives(), CPU)
    notes = Validation(run, lambda *_: None).check()
    expected = f"keeps the largest {checkpoint['best_metric']}, which is the worst."
    assert [expected in note for note in notes] == [True] * is_noted
