import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A folder beside the checkout, or wherever the variable says; nothing of it is in the project.
MULTI30K = Path(os.environ.get("SEQTRAIN_MULTI30K", ROOT.parent / "shared/data/multi30k"))


def run_script(*words: str) -> subprocess.CompletedProcess[str]:
    commands = Path(sys.executable).parent
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", *words], cwd=ROOT, env=os.environ | {"PATH": path}, text=True, check=False
    )


@pytest.mark.slow
def test_the_demo_reaches_its_word_error_rate() -> None:
    if importlib.util.find_spec("pocketsphinx") is None:
        pytest.skip("pocketsphinx is not installed: pip install --no-deps pocketsphinx")
    run_dir = "runs/soak_g2p_cmudict"
    done = run_script("examples/g2p_cmudict/demo.sh", f"run_dir={run_dir}")
    assert done.returncode == 0
    values = json.loads((ROOT / run_dir / "test_metrics.json").read_text())
    assert values["test_wer"] <= 40.0
    assert values["test_per"] <= 12.0


@pytest.mark.slow
def test_multi30k_reaches_33_bleu() -> None:
    if not (MULTI30K / "train.en").is_file():
        pytest.skip(f"Multi30k is not in {MULTI30K}; SEQTRAIN_MULTI30K names another folder")
    run_dir = "runs/soak_multi30k_en_de"
    script = "examples/translation/multi30k.sh"
    done = run_script(script, str(MULTI30K), "precision.dtype=bf16", f"run_dir={run_dir}")
    assert done.returncode == 0
    values = json.loads((ROOT / run_dir / "test_metrics.json").read_text())
    assert values["test_bleu"] >= 33.0
