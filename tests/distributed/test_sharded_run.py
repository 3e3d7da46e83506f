import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ranks import run_ranks, said
from toy_command import PLUGIN, overrides
from toy_run import final_state, history, toy_config, write_toy_text

from seqtrain import pipeline
from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference

SIZES = {"dim": 32, "ffn_dim": 64}
FSDP = {"strategy": "fsdp"}


def run(text: Path, run_dir: Path, max_update: int, processes: int) -> None:
    load_plugins([])
    config: dict[str, Any] = toy_config(
        text,
        run_dir,
        model=SIZES,
        distributed=FSDP,
        optimization={"max_update": max_update, "max_epoch": 0, "update_freq": 2 // processes},
        validation={"validate_interval_updates": 3, "generate": True},
        checkpoint={"save_interval_updates": 3, "background": True},
        ema={"kind": "ema"},
    )
    output = run_dir.with_name(f"{run_dir.name}-{max_update}")
    assert run_ranks(config, processes, output, seconds=300.0) == [0] * processes, said(output)


def test_a_run_goes_from_two_processes_to_one_and_back_as_if_it_had_always_been_one(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")
    one, changing = tmp_path / "one", tmp_path / "changing"
    run(text, one, 9, processes=1)
    run(text, changing, 3, processes=2)
    assert (changing / "checkpoints" / "step-0000000003" / "model-rank-00001.json").exists()
    run(text, changing, 6, processes=1)
    run(text, changing, 9, processes=2)
    assert first_difference(final_state(one), final_state(changing), "state") == ""
    valid = [
        [row for row in history(run_dir) if row["event"] == "valid"] for run_dir in (one, changing)
    ]
    assert len(valid[0]) == 3
    for alone, divided in zip(*valid, strict=True):
        assert divided["valid_wer"] == alone["valid_wer"]
        assert divided["valid_loss"] == pytest.approx(alone["valid_loss"], rel=1e-6)
    lines = ["a b c", "f e"]
    assert pipeline.load(changing, "cpu").translate(lines) == pipeline.load(one, "cpu").translate(
        lines
    )


def test_a_pair_that_cannot_work_is_one_clear_line_from_each_process(tmp_path: Path) -> None:
    text = write_toy_text(tmp_path / "text")
    config = toy_config(
        text, tmp_path / "run", distributed=FSDP, optimizer={"name": "adafactor", "lr": 0.01}
    )
    words = [f"plugins=[{PLUGIN}]", *overrides(config)]
    assert run_ranks(words, 2, tmp_path / "output", seconds=300.0) == [2, 2]
    errors = said(tmp_path / "output")
    assert "Traceback" not in errors
    assert errors.count("optimizer=adafactor needs whole parameters") == 2


def test_a_run_with_whole_parameters_does_not_import_torchs_distributed_tensors() -> None:
    code = (
        "import sys, seqtrain.training.build, seqtrain.plugins\n"
        "seqtrain.plugins.import_built_ins()\n"
        "sys.exit('torch.distributed.tensor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ.copy(), check=False)
    assert done.returncode == 0
