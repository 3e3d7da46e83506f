"""Processes that were launched do not outlive their launcher, and so do not keep its run locked."""

import ctypes
import os
import signal
import sys

from seqtrain.errors import DistributedError

LAUNCHER_VARIABLE = "SEQTRAIN_LAUNCHER"
"""Environment variable that holds the launcher's process id."""

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def end_with_launcher() -> None:
    """Has Linux send SIGTERM to this process when its launcher dies; without one, does nothing.

    Raises:
        DistributedError: The launcher is gone already.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE, "")
    if not launcher.isdecimal() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    try:
        os.kill(int(launcher), 0)  # signal 0 only asks whether the process exists
    except ProcessLookupError as error:
        raise DistributedError(f"The process {launcher} that launched this one is gone.") from error
    except PermissionError:
        return
