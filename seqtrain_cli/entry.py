"""What all commands share: help without heavy imports, exit codes, one line for each error."""

import errno
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence

from seqtrain import __version__
from seqtrain.errors import MachineError, SeqtrainError
from seqtrain_cli.command import Command

INTERRUPTED = 130
BROKEN_PIPE = 141
_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run_command(command: Command, arguments: Sequence[str] | None = None) -> int:
    """Runs a command that Hydra composes, and returns its exit code.

    Args:
        command: What to run.
        arguments: Words of the command line; None for those of this process.
    """

    def execute(words: list[str]) -> None:
        from seqtrain_cli.compose import compose_and_run  # heavy: after --help was answered

        compose_and_run(command, words)

    return guarded(command.program, command.help, execute, arguments)


def guarded(
    program: str,
    help_text: str,
    execute: Callable[[list[str]], None],
    arguments: Sequence[str] | None,
) -> int:
    """Answers --help and --version, runs the rest, and turns errors into lines and exit codes.

    A SeqtrainError, or a disk that refuses, is one line on stderr; with `debug=true` the traceback
    stands above. Any other exception is a bug and goes up as it is.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _let_threads_sleep()
    try:
        if {"-h", "--help"} & set(words):
            print(help_text.strip())
        elif "--version" in words:
            print(f"{program} {__version__}")
        else:
            execute(words)
        sys.stdout.flush()
    except SystemExit as ending:
        return _code_of(ending)
    except (SeqtrainError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_broken():
            return BROKEN_PIPE
        if isinstance(error, OSError) and error.errno not in _DISK_REFUSES:
            raise
        _print_error(program, error, "debug=true" in (word.lower() for word in words))
        return getattr(error, "exit_code", MachineError.exit_code)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _print_error(program: str, error: Exception, with_traceback: bool) -> None:
    if with_traceback:
        traceback.print_exception(error)
    rank = os.environ.get("RANK", "0")
    where = f"rank {rank}: " if rank != "0" else ""
    print(f"{program}: error: {where}{error}", file=sys.stderr)


def _let_threads_sleep() -> None:
    """Has torch's threads sleep soon where one waits for another; before torch is imported.

    On a processor that other work shares, a spinning thread takes the time that the one waited
    for needs, and two threads made eight times fewer updates. A short spin keeps the speed alone.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _code_of(ending: SystemExit) -> int:
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    print(ending.code, file=sys.stderr)
    return 1


def _stdout_is_broken() -> bool:
    """Says whether nobody reads stdout any more; if so, what is left for it goes nowhere."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    is_broken = bool(poll.poll(0))  # only an error or a hang-up is reported without being asked
    if is_broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return is_broken
