import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seqtrain.distributed import launch as launch_module
from seqtrain.distributed.context import DistributedConfig, DistributedContext
from seqtrain.distributed.launch import launch, must_launch
from seqtrain.errors import DistributedError

WORKERS = {
    "describe": """
        names = [*"RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE OMP_NUM_THREADS".split(),
                 "MASTER_ADDR", "MASTER_PORT"]
        found = {name: os.environ[name] for name in names} | {"argv": sys.argv[1:]}
        found["torchelastic"] = [name for name in os.environ if "TORCHELASTIC" in name]
        Path(f"rank{rank}.json").write_text(json.dumps(found))
    """,
    "second_fails": """
        if rank == 1:
            sys.exit(3)
        time.sleep(60)
    """,
    "symptom_comes_first": """
        time.sleep(0.0 if rank == 0 else 0.4)
        sys.exit(6 if rank == 0 else 3)
    """,
    "all_lose_it": "sys.exit(6)",
    "killed": """
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    """,
    "stubborn": """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if rank == 1:
            time.sleep(0.5)
            sys.exit(3)
        time.sleep(60)
    """,
    "saves_when_asked": """
        def save(number, frame):
            time.sleep(0.0 if rank == 1 else 0.7)  # the first rank saves longer than the grace
            Path(f"rank{rank}.saved").write_text(signal.Signals(number).name)
            sys.exit(128 + number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, save)
        Path(f"rank{rank}.ready").touch()
        time.sleep(60)
    """,
    "waits": """
        from seqtrain.distributed.orphans import end_with_launcher
        end_with_launcher()
        Path(f"rank{rank}.pid.new").write_text(str(os.getpid()))
        Path(f"rank{rank}.pid.new").rename(f"rank{rank}.pid")
        time.sleep(60)
    """,
    "loses_a_rank": """
        import torch
        from seqtrain.distributed.context import DistributedConfig, DistributedContext
        from seqtrain.errors import DistributedError
        context = DistributedContext.from_environment()
        try:
            with context.connected(DistributedConfig(), torch.device("cpu")) as collectives:
                total = collectives.all_reduce_sum(torch.tensor(rank + 1)).item()
                Path(f"rank{rank}.total").write_text(str(total))
                if rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                collectives.barrier()
        except DistributedError as error:
            Path(f"rank{rank}.error").write_text(str(error))
            sys.exit(error.exit_code)
    """,
}
HEADER = """
import json, os, signal, sys, time
from pathlib import Path
rank = int(os.environ["RANK"])
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Makes one of the modules above importable, and gives the launcher's arguments for it."""
    paths = [str(tmp_path), str(Path(__file__).parents[2])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.chdir(tmp_path)

    def write(name: str) -> list[str]:
        body = "\n".join(line.removeprefix("        ") for line in WORKERS[name].splitlines())
        (tmp_path / f"{name}.py").write_text(HEADER + body)
        return [name]

    return write


def test_each_process_finds_its_place_and_its_share_of_the_cores(
    worker: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert launch([*worker("describe"), "a=b c", "x"], 3) == 0
    places = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(3)]
    port = places[0]["MASTER_PORT"]
    assert places == [
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "3",
            "LOCAL_WORLD_SIZE": "3",
            "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 3)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "argv": ["a=b c", "x"],
            "torchelastic": [],
        }
        for rank in range(3)
    ]
    assert 0 < int(port) < 65536


def test_a_users_own_thread_count_is_kept(
    worker: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert launch(worker("describe"), 1) == 0
    assert json.loads((tmp_path / "rank0.json").read_text())["OMP_NUM_THREADS"] == "7"


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_module, "GRACE_SECONDS", 0.3)


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize(
    ("name", "code", "line"),
    [
        ("second_fails", 3, "Rank 1 failed with exit code 3."),
        ("killed", 137, "Rank 1 was killed by signal 9 (Killed); often"),
        ("stubborn", 3, "Rank 1 failed with exit code 3."),
    ],
)
def test_the_first_failure_is_the_exit_code_and_ends_the_others(
    worker: Callable[[str], list[str]],
    capfd: pytest.CaptureFixture[str],
    name: str,
    code: int,
    line: str,
) -> None:
    start = time.monotonic()
    assert launch(worker(name), 2) == code
    assert time.monotonic() - start < 20.0
    assert line in capfd.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("symptom_comes_first", 3), ("all_lose_it", 6)])
def test_a_lost_connection_counts_only_where_there_is_no_better_reason(
    worker: Callable[[str], list[str]], capfd: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    assert launch(worker(name), 2) == code
    assert f"Rank 1 failed with exit code {code}." in capfd.readouterr().err


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_every_process_and_each_gets_the_time_to_save(
    worker: Callable[[str], list[str]], tmp_path: Path, number: signal.Signals
) -> None:
    def send_when_ready() -> None:
        while len(list(tmp_path.glob("*.ready"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=send_when_ready)
    sender.start()
    assert launch(worker("saves_when_asked"), 2) == 128 + number
    sender.join()
    assert signal.getsignal(number) == before
    for rank in range(2):
        assert (tmp_path / f"rank{rank}.saved").read_text() == number.name


def test_processes_end_when_their_launcher_is_killed(
    worker: Callable[[str], list[str]], tmp_path: Path
) -> None:
    code = f"from seqtrain.distributed.launch import launch; launch({worker('waits')!r}, 2)"
    launcher = subprocess.Popen([sys.executable, "-c", code])
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert launcher.poll() is None
        time.sleep(0.02)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 10.0
    for rank in range(2):
        process = Path("/proc", (tmp_path / f"rank{rank}.pid").read_text())
        while process.exists() and "Z" not in (process / "stat").read_text().split()[2]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_rank_whose_peer_is_killed_ends_with_the_reason(
    worker: Callable[[str], list[str]], tmp_path: Path
) -> None:
    assert launch(worker("loses_a_rank"), 2) == 137
    assert (tmp_path / "rank0.total").read_text() == "3"
    assert "Rank 0 of 2 failed at a sum" in (tmp_path / "rank0.error").read_text()


def test_a_single_process_launches_only_when_asked() -> None:
    alone = DistributedContext()
    assert not must_launch(DistributedConfig(), alone)
    assert must_launch(DistributedConfig(num_processes=2), alone)
    assert not must_launch(DistributedConfig(num_processes=2), DistributedContext(1, 2, 1))
    assert not must_launch(DistributedConfig(), DistributedContext(1, 2, 1))


def test_torchrun_and_num_processes_must_not_contradict() -> None:
    with pytest.raises(DistributedError, match=r"distributed.num_processes=3, but WORLD_SIZE .* 2"):
        must_launch(DistributedConfig(num_processes=3), DistributedContext(0, 2, 0))
