"""A process of a distributed run has let go of everything when training returns."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, os, sys
from pathlib import Path

sys.path.insert(0, {tests!r})
from toy_run import toy_config
from seqtrain.pipeline import train

train(toy_config(Path({text!r}), Path({run_dir!r}), optimization={{"max_update": 3}}))
tasks = Path("/proc/self/task").iterdir()
names = [(task / "comm").read_text().strip() for task in tasks]
print("left:", [name for name in names if "gloo" in name])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_thread_of_the_connection_outlives_the_run(text: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    script = SCRIPT.format(tests=str(TESTS), text=str(text), run_dir=str(tmp_path / "run"))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (out, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error
        assert out.splitlines()[-1] == "left: []"
