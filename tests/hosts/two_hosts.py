"""Two hosts that lose each other in the middle of a run: python tests/hosts/two_hosts.py

The hosts are network namespaces, joined by a virtual cable. Each runs torchrun with one process;
they meet by its c10d rendezvous, whose store is on the first host. The cable is cut when the run
has made some updates, and mended after both processes have given up; the second host's agent is
started again, as its supervisor would. The run must end with the weights of one that nothing
happened to. All traffic stays in these namespaces.

Exits with 0 also where namespaces are not allowed, and says why nothing was tested.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from toy_command import PLUGIN, overrides
from toy_run import final_state, toy_config, write_toy_text

from seqtrain.training.resume import first_difference

ROOT = Path(__file__).parents[2]
PORT = 29_400
TIMEOUT_SECONDS = 6
CUT_AFTER_UPDATES = 40
LAST_UPDATE = 400
PATIENCE_SECONDS = 120.0


@dataclass
class Host:
    """One namespace with its end of the cable, and the agent that runs in it."""

    index: int
    tag: str
    agents: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return f"seqtrain-{self.tag}-{self.index}"

    @property
    def interface(self) -> str:
        return f"sq{self.tag}-{self.index}"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.index + 1}"

    def start_agent(self, words: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """Starts torchrun, which starts one training process."""
        torchrun = [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes=2", "--nproc-per-node=1", "--max-restarts=3", "--monitor-interval=0.2"),
            *("--rdzv-backend=c10d", "--rdzv-id=two-hosts"),
            f"--rdzv-endpoint={Host(0, self.tag).address}:{PORT}",
            # Else torchrun looks for the address among this machine's names, and waits in vain.
            f"--rdzv-conf=is_host={int(self.index == 0)}",
            f"--local-addr={self.address}",
            *("-m", "seqtrain_cli.train"),
        ]
        environment = os.environ | {
            "GLOO_SOCKET_IFNAME": self.interface,
            # Else an agent that comes later waits for an address that nobody says again.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            "OMP_NUM_THREADS": "1",
            "SEQTRAIN_DISABLE_PLUGINS": "1",
            "PYTHONPATH": str(ROOT),
        }
        with log.open("ab") as file:
            agent = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *torchrun, *words],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.agents.append(agent)
        return agent


def run_quietly(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def set_cable(host: Host, state: str) -> None:
    run_quietly("ip", "-n", host.namespace, "link", "set", host.interface, state)


@contextmanager
def two_hosts(tag: str) -> Iterator[tuple[Host, Host]]:
    """Makes the namespaces and the cable, and takes them away with all that runs in them."""
    hosts = (Host(0, tag), Host(1, tag))
    with ExitStack() as stack:
        for host in hosts:
            run_quietly("ip", "netns", "add", host.namespace)
            stack.callback(remove, host)
        ends = [(host.interface, host.namespace) for host in hosts]
        (first, its_namespace), (second, other_namespace) = ends
        peer = ("peer", "name", second, "netns", other_namespace)
        run_quietly("ip", "link", "add", first, "netns", its_namespace, "type", "veth", *peer)
        for host in hosts:
            address = ("addr", "add", f"{host.address}/24", "dev", host.interface)
            run_quietly("ip", "-n", host.namespace, *address)
            run_quietly("ip", "-n", host.namespace, "link", "set", "lo", "up")
            set_cable(host, "up")
        yield hosts


def remove(host: Host) -> None:
    for agent in host.agents:
        if agent.poll() is None:
            agent.terminate()
    for agent in host.agents:
        try:
            agent.wait(40)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()
    subprocess.run(["ip", "netns", "delete", host.namespace], check=False)


def why_not() -> str:
    """Returns why namespaces cannot be made here, or nothing."""
    name = f"seqtrain-probe-{os.getpid()}"
    try:
        run_quietly("ip", "netns", "add", name)
        run_quietly("ip", "netns", "delete", name)
    except FileNotFoundError:
        return "there is no command ip (package iproute2)"
    except subprocess.CalledProcessError as error:
        return f"`ip netns add` is refused: {error.stderr.strip()}"
    return ""


def num_updates(run_dir: Path) -> int:
    """Returns the last update in the run's log."""
    try:
        lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    except OSError:
        return 0
    return max((json.loads(line)["num_updates"] for line in lines if line), default=0)


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_SECONDS:.0f} s in vain: {what}")
        time.sleep(0.2)
    say(f"{time.monotonic() - BEGAN:6.1f} s  {what}")


def lose_each_other(hosts: tuple[Host, Host], words: Sequence[str], folder: Path) -> None:
    """Runs on both hosts, with the cable cut and mended; returns when both have ended well."""
    second = hosts[1]
    logs = [folder / f"host-{host.index}.log" for host in hosts]
    agents = [host.start_agent(words, log) for host, log in zip(hosts, logs, strict=True)]
    run_dir = folder / "run"
    wait_until(
        f"{CUT_AFTER_UPDATES} updates are made, the cable is cut",
        lambda: num_updates(run_dir) >= CUT_AFTER_UPDATES or agents[0].poll() is not None,
    )
    set_cable(second, "down")
    made = num_updates(run_dir)
    wait_until(
        "both processes have given up, the cable is mended, the second agent started again",
        lambda: all("has made no progress" in log.read_text() for log in logs),
    )
    agents[1].kill()  # it may hang in a call that waits for the store
    agents[1].wait()
    set_cable(second, "up")
    agents[1] = second.start_agent(words, logs[1])
    wait_until(
        "both agents have ended",
        lambda: all(agent.poll() is not None for agent in agents),
    )
    codes = [agent.returncode for agent in agents]
    if codes != [0, 0]:
        raise RuntimeError(f"the agents ended with {codes}")
    say(f"cut after update {made}, finished with update {num_updates(run_dir)}")


def main() -> int:
    if reason := why_not():
        say(f"SKIPPED: two network namespaces are needed, and {reason}.")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = write_toy_text(folder / "text")
        sections = {
            "checkpoint": {"save_interval_updates": 5},
            "optimization": {"max_update": LAST_UPDATE, "max_epoch": 0},
            "logging": {"interval": 1},
            "distributed": {"timeout_seconds": TIMEOUT_SECONDS},
        }
        config = toy_config(text, folder / "run", **sections)
        words = [f"plugins=[{PLUGIN}]", *overrides(config)]
        try:
            with two_hosts(format(os.getpid() % 65_536, "x")) as hosts:
                lose_each_other(hosts, words, folder)
        except (TimeoutError, RuntimeError) as error:
            for log in sorted(folder.glob("host-*.log")):
                say(f"--- {log.name}\n{log.read_text()[-6000:]}")
            say(f"FAILED: {error}")
            return 1
        straight = toy_config(text, folder / "straight", **sections)
        straight["distributed"] |= {"num_processes": 2}
        subprocess.run(
            [sys.executable, "-m", "seqtrain_cli.train", words[0], *overrides(straight)],
            check=True, stdout=subprocess.DEVNULL, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "SEQTRAIN_DISABLE_PLUGINS": "1"},
        )  # fmt: skip
        states = [final_state(folder / run) for run in ("run", "straight")]
        if difference := first_difference(*states, "state"):
            say(f"FAILED: the run ended otherwise than an uninterrupted one: {difference}")
            return 1
    say("PASSED: the run ended with the state of an uninterrupted one, bit for bit.")
    return 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


BEGAN = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
