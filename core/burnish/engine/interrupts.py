"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A launcher passes a signal on to processes that the terminal has signalled already: that is no second one.
ECHO_S = 2.0
TOLD = b"\nstopping after this step, which is saved; once more ends the process at once\n"


class Interrupted(KeyboardInterrupt):
    """A run was asked to end, and has saved what it had. code: the exit status that says so."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class Interrupts:
    """Within `with`: `received` is the number of the signal that came, or None. Only the main thread can listen.

    launched: by a launcher, among several processes. tells: whether the first signal is answered on standard error.
    """

    def __init__(self, launched: bool, tells: bool = False) -> None:
        self.received: int | None = None
        self._echo_s = ECHO_S if launched else 0.0
        self._tells = tells
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            if self._tells:
                os.write(2, TOLD)  # past Python's buffers, which may be in use just now
        elif time.monotonic() - self._since >= self._echo_s:
            os._exit(128 + number)
