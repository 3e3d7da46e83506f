"""SIGINT, SIGTERM and SIGUSR1 end a run at the next update, with a checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """Remembers the first signal and calls back; a second one ends the process at once."""

    def __init__(self, on_signal: Callable[[], None]) -> None:
        self.received: int = 0
        self._on_signal = on_signal

    @contextmanager
    def installed(self) -> Iterator["StopSignals"]:
        """Handles the signals inside the context; elsewhere than in the main thread, none."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received:
            # A save in progress is not harmed: a checkpoint exists only once it was renamed.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
        self._on_signal()
