"""A process that compares expressions, started when it is first asked and again after it was killed. Knows no reward.

In: a right answer and what was said. Out: whether they are equal; None where the right answer cannot be read. One line of JSON
each way. The kernel itself limits the process's time, since a power of large integers heeds no signal.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from typing import IO, Any, cast

from burnish.errors import RewardError

MEMORY_BYTES = 4 << 30
KILLED = (-signal.SIGXCPU, -signal.SIGKILL)


class Worker:
    """The process, from outside; several threads may ask, one after the other is answered."""

    def __init__(self, time_limit: float) -> None:
        self._time_limit = time_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def equal(self, right: str, said: str) -> float | None:
        """1 or 0; 0 where it took too long. None where `right` cannot be read."""
        with self._lock:
            process = self._running()
            question = json.dumps([right, said, self._time_limit]).encode() + b"\n"
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(question)
            process.stdin.flush()
            line = process.stdout.readline()
            if line:
                return cast("float | None", json.loads(line))
            self._process = None
            if process.wait() not in KILLED:
                raise RewardError(f"the process that compares expressions died with status {process.returncode}")
            return 0.0

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", __name__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            if not self._process.stdout.readline():
                complaint = self._process.stderr.read().decode(errors="replace").strip().splitlines()
                raise RewardError(f"the process that compares expressions did not start: {complaint[-1:] or 'no reason given'}")
        return self._process


class TooLong(BaseException):
    """The time of one comparison is over. Not an Exception, since what it interrupts catches those."""


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until there are no more questions."""
    from math_verify import parse, verify

    signal.signal(signal.SIGPROF, _over)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # complaints are read until it has started, and would then fill their pipe
    answers.write(b"ready\n")
    for line in questions:
        right, said, time_limit = json.loads(line)
        _allow(time_limit)
        try:
            gold: list[Any] = parse(right, parsing_timeout=None)
            found = float(verify(gold, parse(said, parsing_timeout=None), timeout_seconds=None)) if gold else None
        except (TooLong, MemoryError, RecursionError):
            found = 0.0
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(found).encode() + b"\n")


def _allow(seconds: float) -> None:
    """A signal when the time is over, and a kill for what does not hear it."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(usage.ru_utime + usage.ru_stime + seconds + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _over(*_: object) -> None:
    raise TooLong


def main() -> None:
    """The process, from inside: its own output is for answers, what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    highest = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = MEMORY_BYTES if highest == resource.RLIM_INFINITY else min(MEMORY_BYTES, highest)
    resource.setrlimit(resource.RLIMIT_AS, (limit, highest))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends this by closing its input
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
