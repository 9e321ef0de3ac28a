"""A sandbox for programs of unknown intent, from outside. In: a command and its input. Out: what it wrote, and how it ended.

A program is shut in by namespaces of its own (user, processes, network, mounts, queues) or, where these cannot be had, by
Landlock and seccomp. Either way it reads only the system's folders and Python's, opens no socket, has no power over processes
but its own, and is limited in memory, time, processes, files and output; in the end it is killed with all that it started.
`RewardError` where the machine has neither: a program is never run unguarded.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from burnish.errors import RewardError
from burnish_code.jail import Jail

Isolation = Literal["namespaces", "landlock"]
Ending = Literal["ended", "time", "output"]
ISOLATIONS: tuple[Isolation, ...] = ("namespaces", "landlock")
ENTER = "import sys; sys.path.append(sys.argv.pop()); from burnish_code.jail import main; main()"
NUMBERS = itertools.count(os.getpid() << 8)  # far apart for processes that sandbox at the same time
MEGABYTE = 1 << 20
CLOCK = 3
PROBE = """
import os, socket, sys
def fails(act):
    try:
        act()
    except OSError:
        return True
    return False
print(fails(lambda: open(sys.argv[1])) and fails(lambda: open("/usr/x", "w")) and fails(socket.socket))
"""


@dataclass(frozen=True)
class Output:
    """What a program wrote, and why it stopped: it ended, with `code`, or was killed for its time or its output."""

    written: bytes
    ending: Ending
    code: int


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Limits of a program. time_limit: seconds of the processor, of each process; of the clock `CLOCK` times that, so that a
    busy machine fails no program and a sleeping one still ends. memory_mb: of each process. processes: at once, by namespaces
    only; by Landlock there is one. files_mb: all files together. output_kb: of what it writes."""

    isolation: Isolation
    time_limit: float
    memory_mb: int
    processes: int
    files_mb: int = 16
    output_kb: int = 1024

    def run(self, arguments: Sequence[str], given: bytes = b"") -> Output:
        """Python with these arguments, reading `given`. RewardError when the sandbox cannot be made."""
        with tempfile.TemporaryDirectory(prefix="burnish-code-") as root, tempfile.TemporaryFile() as source:
            os.chmod(root, 0o755)  # for the program, which may be another user
            source.write(given)
            source.flush()
            command = [sys.executable, "-I", "-S", "-B", "-c", ENTER, json.dumps(asdict(self._jail(root, arguments)))]
            with open(f"/proc/self/fd/{source.fileno()}", "rb") as to_be_read:  # not to be written to, as `source` itself
                process = subprocess.Popen(
                    [*command, str(Path(__file__).parents[1])],
                    stdin=to_be_read,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    env={},
                )
            try:
                written, ending = self._read(process)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # the jail; by namespaces all that is in it dies with it
                process.wait()
            assert process.stdout is not None
            assert process.stderr is not None
            complaint = process.stderr.read().decode(errors="replace").strip()
            process.stdout.close()
            process.stderr.close()
        if complaint:  # the program has no such channel: this is the jail's
            raise RewardError(f"the sandbox by {self.isolation} failed: {complaint}")
        return Output(written, ending, process.returncode)

    def _jail(self, root: str, arguments: Sequence[str]) -> Jail:
        return Jail(
            isolation=self.isolation,
            root=root,
            readable=sorted({sys.prefix, sys.base_prefix}),
            command=[sys.executable, "-I", "-B", *arguments],
            memory_bytes=self.memory_mb * MEGABYTE,
            file_bytes=self.files_mb * MEGABYTE,
            cpu_s=math.ceil(self.time_limit),
            processes=self.processes,
            number=next(NUMBERS) % (1 << 24),
        )

    def _read(self, process: subprocess.Popen[bytes]) -> tuple[bytes, Ending]:
        """All that it writes until it ends, or until one of its limits."""
        assert process.stdout is not None
        until, limit, written = time.monotonic() + CLOCK * self.time_limit, self.output_kb * 1024, bytearray()
        while True:
            left = until - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                return bytes(written), "time"
            piece = os.read(process.stdout.fileno(), 65536)
            written += piece
            if not piece:
                break
            if len(written) > limit:
                return bytes(written[:limit]), "output"
        try:  # it has closed its output, and may still run
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return bytes(written), "time"
        return bytes(written), "ended"


@cache
def isolation_here(asked: Isolation | None = None) -> Isolation:
    """The first way of shutting a program in that works here, or the one asked for; tried once, with a program that wants out.

    RewardError says for each why it does not work.
    """
    problems = []
    for isolation in ISOLATIONS if asked is None else (asked,):
        problem = _problem(isolation)
        if problem is None:
            return isolation
        problems.append(f"{isolation}: {problem}")
    raise RewardError(
        f"programs cannot be shut in on this machine, so none is run ({'; '.join(problems)}). "
        "It takes Linux with user namespaces, or with Landlock and seccomp; in a container, ask for one of them"
    )


def _problem(isolation: Isolation) -> str | None:
    if not sys.platform.startswith("linux"):
        return f"this is {sys.platform}, not Linux"
    sandbox = Sandbox(isolation=isolation, time_limit=20.0, memory_mb=512, processes=2)
    with tempfile.NamedTemporaryFile() as secret:
        os.chmod(secret.name, 0o644)
        try:
            output = sandbox.run(["-c", PROBE, secret.name])
        except (RewardError, OSError) as error:
            return str(error)
    held = output.written.strip() == b"True"
    return None if held else f"a program that tried to get out was not held: {output}"
