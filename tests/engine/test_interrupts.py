"""The first signal asks, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from burnish.engine.interrupts import Interrupted, Interrupts

ENDLESS = """
import time
from burnish.engine.interrupts import Interrupts
with Interrupts(launched={launched}):
    print("ready", flush=True)
    time.sleep(60)
    time.sleep(60)
"""


def start(launched: bool) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", ENDLESS.format(launched=launched)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_first_signal_is_remembered_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(launched=False) as interrupts:
        assert interrupts.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.received == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    assert Interrupted(signal.SIGINT).code == 130


def test_second_signal_ends_at_once() -> None:
    process = start(launched=False)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130


def test_launchers_echo_is_no_second_signal() -> None:
    process = start(launched=True)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.wait(5)
