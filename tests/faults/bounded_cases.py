"""Runs many bad inputs in one fork with limits on memory and time, and says how each ended."""

import faulthandler
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import BinaryIO

from seqtrain.errors import SeqtrainError

SECONDS = 5.0
"""Of the processor's time for a case; waiting may take twelve times as long on a busy machine."""
MEMORY_BYTES = 2**30
DOCUMENTED = {2, 3, 4, 5, 6, 7}
"""Exit codes of errors."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    name: str
    exit_code: int = 0
    message: str = ""
    uncaught: str = ""
    """Traceback of what no user should see; empty if there was none."""


Case = tuple[str, Callable[[], object]]


def run_cases(cases: Iterable[Case]) -> list[Outcome]:
    """Returns the outcomes. Fails where a case takes longer than SECONDS or ends the process.

    A fork may use MEMORY_BYTES more than this process; beyond, an allocation fails.
    """
    with tempfile.TemporaryFile() as results, tempfile.TemporaryFile("w+b") as errors:
        child = os.fork()
        if child == 0:
            _run_all(cases, results, errors)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        results.seek(0)
        outcomes = [Outcome(**json.loads(line)) for line in results]
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    last = outcomes[-1].name if outcomes else "none"
    assert status == 0, f"ended with {status} after the case {last!r}: {said[:3000]}"
    return outcomes


def require_documented(outcomes: Sequence[Outcome]) -> None:
    """Fails for anything else than success, or one line with a documented exit code."""
    uncaught = [f"{outcome.name}: {outcome.uncaught}" for outcome in outcomes if outcome.uncaught]
    assert not uncaught, "\n".join(uncaught)
    for outcome in outcomes:
        if outcome.exit_code:
            assert outcome.exit_code in DOCUMENTED, outcome
            assert outcome.message, outcome
            assert "\n" not in outcome.message, outcome
            assert len(outcome.message) < 10_000, outcome  # values of the user are repeated


def _run_all(cases: Iterable[Case], results: BinaryIO, errors: BinaryIO) -> None:
    status = 1
    try:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 # for the rest of the fork
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        limit = _virtual_bytes() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        faulthandler.register(signal.SIGPROF, file=errors, chain=True)
        for name, action in cases:
            # Ends the process, with its stacks, whatever it is stuck in.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            faulthandler.dump_traceback_later(12 * SECONDS, exit=True, file=errors)
            outcome = _outcome(name, action)
            faulthandler.cancel_dump_traceback_later()
            os.write(results.fileno(), json.dumps(asdict(outcome)).encode() + b"\n")
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def _outcome(name: str, action: Callable[[], object]) -> Outcome:
    try:
        action()
    except SeqtrainError as error:
        return Outcome(name, error.exit_code, str(error))
    except BaseException:
        return Outcome(name, 1, "", traceback.format_exc()[-2500:])
    return Outcome(name)


def _virtual_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 # as short as it gets
        return int(file.read().split()[0]) * resource.getpagesize()
