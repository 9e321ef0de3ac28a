"""Rewards in processes of their own, for those that compute long, leak or hang: they take nothing of the training process's
time, a call that takes too long is killed, and a process ends after some calls and another takes its place.

In: what makes the reward, and calls. Out: answers, completion by completion. A process is asked about one completion at a time.
"""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import IO, Any

from burnish.errors import RewardError
from burnish.rollout.asking import Answer, Call, Failure, too_long

RECYCLE = 1000  # calls after which a process ends: what it leaked goes with it
STARTS_S = 120.0  # seconds that a process may take to be ready
LOOKS_S = 1.0  # seconds after which one that says nothing is looked at
ENDS_S = 1.0  # seconds in which one whose other end is gone has ended
HEADER = struct.Struct("<q")


@dataclass(frozen=True)
class Made:
    """What makes a reward anywhere: its name and options. disabled: plugins to leave out. run_code: the name may be code."""

    name: str
    options: Mapping[str, Any]
    disabled: tuple[str, ...] = ()
    run_code: bool = False


@dataclass
class Pool:
    """So many processes for one reward, started when they are first needed. time_limit: seconds for one completion."""

    label: str
    made: Made
    processes: int
    time_limit: float | None = None
    recycle: int = RECYCLE
    _idle: SimpleQueue[_Process] = field(default_factory=SimpleQueue, init=False)

    def __post_init__(self) -> None:
        for _ in range(self.processes):
            self._idle.put(_Process(self.made, self.recycle))

    def __call__(self, call: Call) -> Answer:
        """The whole call; blocks. Only completions are lost whose own call fails."""
        has_fields = hasattr(call.state, "__dict__")  # passed on without its class, whose library takes seconds to import
        state = SimpleNamespace(**vars(call.state)) if has_fields else call.state
        call = replace(call, tokenizer=None, instances=(), state=state)
        with ThreadPoolExecutor(self.processes) as threads:
            return Answer.joined(list(threads.map(lambda place: self._one(call.only([place])), range(call.size))))

    def _one(self, call: Call) -> Answer:
        process = self._idle.get()
        try:
            return process.ask(self.label, call, self.time_limit)
        finally:
            self._idle.put(process)


class _Process:
    """One of them, from outside."""

    def __init__(self, made: Made, recycle: int) -> None:
        self._made, self._recycle, self._asked = made, recycle, 0
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def ask(self, label: str, call: Call, time_limit: float | None) -> Answer:
        """One call. A process that dies or takes too long is killed, with all that it started."""
        process = self._running(label)
        self._asked += 1
        try:
            send(process.stdin, call)
            if not _speaks(process, time_limit):
                self.kill()
                return Answer.failed(too_long(label, time_limit or 0.0, call), call.size)
            answer = receive(process.stdout)
        except (BrokenPipeError, EOFError):
            fate = _fate(process)
            self.kill()
            sentence = f"the process of the reward '{label}' {fate} over {call.named(0)}"
            return Answer.failed(Failure("reward_error", sentence), call.size)
        if self._asked >= self._recycle:
            self.kill()
        if isinstance(answer, RewardError):
            raise answer
        assert isinstance(answer, Answer)
        return answer

    def kill(self) -> None:
        """End it; the next call starts another."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _running(self, label: str) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.kill()
            command = [sys.executable, "-m", "burnish.rollout.pool_worker"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            self._process, self._asked = process, 0
            self._end = weakref.finalize(self, _kill, process)
            send(process.stdin, (label, self._made))
            try:
                if not _speaks(process, STARTS_S):
                    self.kill()
                    raise RewardError(f"a process of the reward '{label}' was not ready after {STARTS_S:g} s")
                ready = receive(process.stdout)
            except EOFError:
                self.kill()
                raise RewardError(f"a process of the reward '{label}' died before it was ready") from None
            if isinstance(ready, RewardError):
                raise ready
        return self._process


def send(file: IO[bytes] | None, value: Any) -> None:
    """One value, pickled: both ends are this program's own."""
    assert file is not None
    content = pickle.dumps(value)
    file.write(HEADER.pack(len(content)) + content)
    file.flush()


def receive(file: IO[bytes] | None) -> Any:
    """The next value; EOFError when the other end is gone."""
    assert file is not None
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    [length] = HEADER.unpack(header)
    content = file.read(length)
    if len(content) < length:
        raise EOFError
    return pickle.loads(content)


def _speaks(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Whether it says something within these seconds; EOFError where it ends without a word, though what it has started may
    still hold the other end."""
    assert process.stdout is not None
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ended = process.poll() is not None
        if select.select([process.stdout], [], [], 0 if ended else min(left, LOOKS_S))[0]:
            return True
        if ended:
            raise EOFError
    return False


def _fate(process: subprocess.Popen[bytes]) -> str:
    """What has become of one that nobody can speak with."""
    try:
        status = process.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        return "closed its input and output"
    return f"died with {signal.Signals(-status).name if status < 0 else f'status {status}'}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for file in (process.stdin, process.stdout):
        if file is not None:
            with suppress(BrokenPipeError):
                file.close()
