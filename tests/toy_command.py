"""The toy run of toy_run.py as a command line, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toy_run import toy_config

PLUGIN = Path(__file__).with_name("toy_plugin.py")


def overrides(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns nested values as key=value words; a section's name chooses the component."""
    words: list[str] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and prefix == "" and key in ("callback", "log_writer"):
            words.append(f"{key}=[{','.join(value)}]")
        if isinstance(value, Mapping):
            words += overrides(value, f"{prefix}{key}.")
        elif key == "name" and prefix:
            words.insert(0, f"{prefix[:-1]}={value}")
        elif isinstance(value, list):
            words.append(f"{prefix}{key}=[{','.join(map(str, value))}]")
        else:
            words.append(f"{prefix}{key}={value}")
    return words


def run_toy_command(
    text: Path, run_dir: Path, timeout: float = 120.0, **sections: Any
) -> subprocess.CompletedProcess[str]:
    """Runs seqtrain-train on the toy data and returns what it said."""
    config = toy_config(text, run_dir, **sections)
    words = [f"plugins=[{PLUGIN}]", *overrides(config)]
    return subprocess.run(
        [sys.executable, "-m", "seqtrain_cli.train", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
