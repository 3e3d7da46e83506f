import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from processes import run_in_processes

from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.desync import require_same_parameters
from seqtrain.distributed.heartbeat import Watchdog, open_board
from seqtrain.errors import DistributedError


def watched_until_given_up(collectives: Collectives, stopped: int, how: str, folder: str) -> str:
    """Lets one rank stop; returns what this rank's watchdog prints."""
    printed = Path(folder) / str(collectives.rank)
    with printed.open("wb") as file:
        os.dup2(file.fileno(), 2)
    gave_up: list[float] = []
    watchdog = Watchdog(
        collectives.rank,
        collectives.world_size,
        1.0,
        open_board(10.0),
        give_up=lambda: gave_up.append(time.monotonic()),
    )
    with watchdog.watching():
        for update in range(12):
            watchdog.beat(update, "forward")
            time.sleep(0.05)
        collectives.barrier()
        if collectives.rank == stopped and how == "suspended":
            child = os.fork()
            if child == 0:  # wakes its parent up when the others have given up
                time.sleep(4.0)
                os.kill(os.getppid(), signal.SIGCONT)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.waitpid(child, 0)
            watchdog.beat(12, "forward")
            return ""
        watchdog.beat(11, "forward" if collectives.rank == stopped else "sums")
        deadline = time.monotonic() + 10.0
        while not gave_up and time.monotonic() < deadline:
            time.sleep(0.02)
    return printed.read_text()


@pytest.mark.parametrize("how", ["suspended", "waiting for ever"])
def test_the_rank_that_stopped_is_named_with_its_place(how: str, tmp_path: Path) -> None:
    printed = run_in_processes(watched_until_given_up, 3, 1, how, str(tmp_path))
    for rank in (0, 2):
        text = printed[rank]
        assert f"rank {rank} has made no progress for" in text
        assert re.search(r"rank 1 \(last seen in update \d+, forward\):", text)
        assert text.count("last seen") == 1
        assert f"Stacks of rank {rank}:" in text
        assert "watched_until_given_up" in text


def test_a_thread_that_gives_signs_of_life_is_left_alone() -> None:
    watchdog = Watchdog(0, 1, 0.2, give_up=lambda: pytest.fail("gave up"))
    with watchdog.watching():
        for update in range(12):
            watchdog.beat(update, "forward")
            time.sleep(0.05)


def test_a_single_process_that_hangs_shows_its_stacks(capfd: pytest.CaptureFixture[str]) -> None:
    ends: list[str] = []
    with Watchdog(0, 1, 0.1, give_up=lambda: ends.append("gave up")).watching():
        time.sleep(0.6)
    assert ends == ["gave up"]
    error = capfd.readouterr().err
    assert "distributed.timeout_seconds" in error
    assert "test_a_single_process_that_hangs" in error


class SilentBoard:
    """A store behind a cut cable: no call ever returns."""

    def set(self, key: str, value: str) -> None:
        threading.Event().wait()

    def check(self, keys: list[str]) -> bool:
        return threading.Event().wait()

    def multi_get(self, keys: list[str]) -> list[bytes]:
        threading.Event().wait()
        return []


def test_a_board_that_never_answers_does_not_stop_the_watchdog(
    capfd: pytest.CaptureFixture[str],
) -> None:
    gave_up = threading.Event()
    watchdog = Watchdog(1, 2, 0.2, SilentBoard(), give_up=gave_up.set)
    with watchdog.watching():
        assert gave_up.wait(20.0)
    assert "The first rank, or its machine, is gone." in capfd.readouterr().err


class CountingBoard:
    """A store that notes the order of calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def set(self, key: str, value: str) -> None:
        self.calls.append("set")

    def check(self, keys: list[str]) -> bool:
        return True

    def multi_get(self, keys: list[str]) -> list[bytes]:
        self.calls.append("get")
        return [b"{}"] * len(keys)


def test_a_rank_goes_on_giving_signs_of_life_while_it_makes_sure_who_has_stopped() -> None:
    gave_up, board = threading.Event(), CountingBoard()
    with Watchdog(0, 2, 0.2, board, give_up=gave_up.set).watching():
        assert gave_up.wait(20.0)
    first, second = (index for index, call in enumerate(board.calls) if call == "get")
    assert board.calls[first:second].count("set") >= 4


def with_one_bit_changed(collectives: Collectives, changed_rank: int) -> str:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).bfloat16()
    require_same_parameters(model.named_parameters(), collectives, 41)
    if collectives.rank == changed_rank:
        bits = model[1].weight.detach().view(torch.int16)
        bits[1, 2] ^= 1
    with pytest.raises(DistributedError) as raised:
        require_same_parameters(model.named_parameters(), collectives, 42)
    return str(raised.value)


def test_one_bit_of_one_parameter_on_one_rank_is_found_by_all() -> None:
    for message in run_in_processes(with_one_bit_changed, 3, 2):
        assert "After update 42" in message
        assert "1.weight" in message
        assert "rank 2 has other bits" in message


def both_at_once(collectives: Collectives) -> tuple[float, list[int]]:
    """Speaks over both connections at once, from two threads."""
    other = collectives.separate(20.0)
    found: list[list[int]] = []
    thread = threading.Thread(
        target=lambda: found.extend(other.gather_json(index) for index in range(50))
    )
    thread.start()
    totals = [float(collectives.all_reduce_sum(torch.ones(2)).sum()) for _ in range(50)]
    thread.join()
    return max(totals), found[-1]


def test_a_separate_connection_carries_values_of_its_own() -> None:
    assert run_in_processes(both_at_once, 2) == [(4.0, [49, 49])] * 2
