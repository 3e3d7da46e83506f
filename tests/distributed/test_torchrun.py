"""Two torchrun agents, as on two machines, that meet on the loopback address."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from ranks import run_ranks, said
from toy_command import overrides
from toy_run import final_state, toy_config, write_toy_text

from seqtrain.plugins import load_plugins
from seqtrain.training.resume import first_difference

ROOT = Path(__file__).parents[2]


def start_agent(index: int, port: int, words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Starts torchrun, which starts one training process."""
    torchrun = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
        *("--rdzv-backend=c10d", "--rdzv-id=two-agents", f"--rdzv-endpoint=127.0.0.1:{port}"),
        # Both have the address that they meet at; the first one has the store.
        *(f"--rdzv-conf=is_host={int(index == 0)}", "--local-addr=127.0.0.1"),
        *("-m", "seqtrain_cli.train"),
    ]
    environment = os.environ | {
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "SEQTRAIN_DISABLE_PLUGINS": "1",
        "PYTHONPATH": str(ROOT),
    }
    with log.open("wb") as file:
        return subprocess.Popen(
            [*torchrun, *words], env=environment, stdout=file, stderr=subprocess.STDOUT
        )


def test_two_agents_of_torchrun_train_to_the_bytes_of_one_process_that_accumulates(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text")

    def words(name: str, update_freq: int) -> list[str]:
        limits = {"max_update": 4, "max_epoch": 0, "update_freq": update_freq}
        return overrides(toy_config(text, tmp_path / name, optimization=limits))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logs = [tmp_path / f"agent-{index}.log" for index in (0, 1)]
    agents = [start_agent(index, port, words("run", 1), logs[index]) for index in (0, 1)]
    try:
        load_plugins([])
        output = tmp_path / "output"
        assert run_ranks(words("straight", 2), 1, output) == [0], said(output)
        codes = [agent.wait(120) for agent in agents]
        assert codes == [0, 0], "\n".join(log.read_text() for log in logs)
    finally:
        for agent in agents:
            if agent.poll() is None:
                agent.terminate()  # and so its process
                agent.wait(40)
    states = [final_state(tmp_path / name) for name in ("run", "straight")]
    assert states[0]["trainer"]["num_updates"] == 4
    (manifest,) = (tmp_path / "run/checkpoints").glob("step-*/manifest.json")
    assert json.loads(manifest.read_text())["world_size"] == 2
    assert first_difference(*states, "state") == ""
