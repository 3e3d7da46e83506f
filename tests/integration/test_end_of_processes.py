"""A process of a distributed run has let go of its connection when it ends.

A thread of the connection that lives until Python ends can abort the process there.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from toy_command import overrides
from toy_run import toy_config

# Nothing is imported before the command does, since the order of torch's imports matters.
SCRIPT = """
import atexit, runpy
from pathlib import Path

def say_what_is_left():
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    print("left:", [name for name in names if "gloo" in name], flush=True)

atexit.register(say_what_is_left)
runpy.run_module("seqtrain_cli.train", run_name="__main__")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_thread_of_the_connection_outlives_the_training(text: Path, tmp_path: Path) -> None:
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
    words = overrides(toy_config(text, tmp_path / "run", optimization={"max_update": 3}))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words],
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
