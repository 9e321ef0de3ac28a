"""The processes of a reward, from outside: another program stands in for the worker and says what a test tells it to."""

from __future__ import annotations

import fcntl
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from burnish.errors import RewardError
from burnish.rollout import pool
from burnish.rollout.asking import Answer, Call, Failure
from burnish.rollout.pool import HEADER, Made, Pool, _Process
from burnish.rollout.rewards import call_of

WORKER = """
import fcntl, json, os, struct, sys, time
lives = sorted(open(sys.argv[1]).read().split())  # the files of the processes to come, first to last
mine = lives[0]
open(sys.argv[1], "w").write(" ".join(lives[1:] or lives[:1]))
for act in json.load(open(mine)):  # the first answers the introduction, the others a call each
    [length] = struct.unpack("<q", sys.stdin.buffer.read(8))
    sys.stdin.buffer.read(length)
    if "after" in act:
        time.sleep(act["after"])
    if "holds" in act:  # and lets a child hold it, with all that is open here
        file = open(act["holds"], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.fork():
            time.sleep(60)
    if "closes" in act:
        os.close(0)
        os.close(1)
        time.sleep(60)
    sys.stdout.buffer.write(bytes.fromhex(act.get("bytes", "")))
    sys.stdout.buffer.flush()
    if "status" in act:
        os._exit(act["status"])
time.sleep(60)
"""
CALL = call_of(["p"], ["c"], [[1]], {}, whose=["row 3 of main"])


def says(value: Any, **how: Any) -> dict[str, Any]:
    """One act: a value, as the worker sends it."""
    content = pickle.dumps(value)
    return {"bytes": (HEADER.pack(len(content)) + content).hex(), **how}


def answer(value: float, **how: Any) -> dict[str, Any]:
    return says(Answer([value]), **how)


READY = says("ready")


class Lives:
    """What the processes that are started one after another do; the last one's is that of all later ones."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.begun = folder, 0
        popen = subprocess.Popen

        def start(command: list[str], **options: Any) -> Any:
            self.begun += 1
            assert command == [sys.executable, "-m", "burnish.rollout.pool_worker"]
            return popen([sys.executable, "-IS", "-c", WORKER, str(folder / "lives")], **options)

        used = {"PIPE": subprocess.PIPE, "TimeoutExpired": subprocess.TimeoutExpired}
        monkeypatch.setattr(pool, "subprocess", SimpleNamespace(Popen=start, **used))

    def __call__(self, *lives: list[dict[str, Any]]) -> _Process:
        for number, life in enumerate(lives):
            (self.folder / f"{number}.json").write_text(json.dumps(life))
        (self.folder / "lives").write_text(" ".join(str(self.folder / f"{number}.json") for number in range(len(lives))))
        return _Process(Made("mine", {}), 1000)


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lives:
    return Lives(tmp_path, monkeypatch)


def within(seconds: float, action: Callable[[], Any]) -> Any:
    """What an action gives; AssertionError where it takes longer, which goes on in a thread that nobody waits for."""
    found: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def act() -> None:
        try:
            found.put((action(), None))
        except Exception as error:
            found.put((None, error))

    threading.Thread(target=act, daemon=True).start()
    try:
        value, error = found.get(timeout=seconds)
    except Empty:
        raise AssertionError(f"it took longer than {seconds:g} s") from None
    if error is not None:
        raise error
    return value


def asked(process: _Process, time_limit: float | None = 20.0) -> Any:
    """The one value of an answer."""
    [value] = within(10, lambda: process.ask("mine", CALL, time_limit).values)
    return value


def test_what_a_process_says_before_it_is_ready_is_raised(lives: Lives) -> None:
    with pytest.raises(RewardError, match="the file is half a file"):
        asked(lives([says(RewardError("the file is half a file")), answer(1.0)]))


def test_a_process_that_dies_before_it_is_ready(lives: Lives) -> None:
    with pytest.raises(RewardError, match="a process of the reward 'mine' died before it was ready"):
        asked(lives([{"status": 1}]))


def test_a_process_that_is_never_ready(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "STARTS_S", 0.3)
    process = lives([{"after": 60}], [READY, answer(2.0)])
    with pytest.raises(RewardError, match=r"a process of the reward 'mine' was not ready after 0\.3 s"):
        asked(process)
    monkeypatch.setattr(pool, "STARTS_S", 60.0)
    assert asked(process) == 2.0


def test_what_the_reward_cannot_do_at_all_is_raised(lives: Lives) -> None:
    process = lives([READY, says(RewardError("the reward 'mine' returned 2 for 1 completions")), answer(2.0)])
    with pytest.raises(RewardError, match="returned 2 for 1 completions"):
        asked(process)
    assert (asked(process), lives.begun) == (2.0, 1)


def test_a_late_answer_is_nobody_elses(lives: Lives) -> None:
    process = lives([READY, answer(1.0, after=1.0)], [READY, answer(2.0)])
    late = asked(process, 0.2)
    assert isinstance(late, Failure)
    assert late.outcome == "timeout"
    assert late.sentence == "the reward 'mine' took longer than its time limit of 0.2 s for row 3 of main"
    assert (asked(process), lives.begun) == (2.0, 2)


@pytest.mark.parametrize("act", [{"status": 3}, {**answer(1.0), "status": 3}], ids=["nothing", "half"])
def test_a_process_that_dies_over_a_call(lives: Lives, act: dict[str, Any]) -> None:
    process = lives([READY, {**act, "bytes": act.get("bytes", "")[:-2]}], [READY, answer(2.0)])
    died = asked(process)
    assert isinstance(died, Failure)
    assert died.sentence == "the process of the reward 'mine' died with status 3 over row 3 of main"
    assert (asked(process), lives.begun) == (2.0, 2)


@pytest.mark.parametrize("limit", [None, 20.0])
@pytest.mark.parametrize("ready", [READY, None], ids=["over a call", "before it is ready"])
def test_a_process_that_dies_takes_with_it_what_it_has_started(
    lives: Lives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: dict[str, Any] | None, limit: float | None
) -> None:
    """Its child holds the end to which answers are written, so the end of answers never comes."""
    monkeypatch.setattr(pool, "LOOKS_S", 0.05)
    act = {"holds": str(tmp_path / "held"), "status": 3}
    process = lives([*([ready] if ready else []), act], [READY, answer(2.0)])
    if ready:
        died = asked(process, limit)
        assert isinstance(died, Failure)
        assert died.sentence == "the process of the reward 'mine' died with status 3 over row 3 of main"
    else:
        with pytest.raises(RewardError, match="died before it was ready"):
            asked(process, limit)
    with (tmp_path / "held").open() as file:
        within(10, lambda: fcntl.flock(file, fcntl.LOCK_EX))
    assert (asked(process), lives.begun) == (2.0, 2)


def test_a_process_that_lives_on_and_cannot_be_spoken_with(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ENDS_S", 0.1)
    process = lives([READY, {"closes": True}], [READY, answer(2.0)])
    silent = asked(process)
    assert isinstance(silent, Failure)
    assert silent.sentence == "the process of the reward 'mine' closed its input and output over row 3 of main"
    assert (asked(process), lives.begun) == (2.0, 2)


def test_a_process_that_died_since_is_replaced(lives: Lives) -> None:
    process = lives([READY, answer(1.0, status=0)], [READY, answer(2.0)])
    assert asked(process) == 1.0
    assert process._process is not None
    process._process.wait(10)
    assert (asked(process), lives.begun) == (2.0, 2)


def test_calls_are_counted_for_each_process(lives: Lives) -> None:
    """Three calls each: the first dies over its second, the second has its three, and then a third begins."""
    process = lives([READY, answer(1.0), {"status": 3}], [READY, *(answer(2.0) for _ in range(9))])
    process._recycle = 3
    asked(process)
    asked(process)
    assert ([asked(process) for _ in range(3)], lives.begun) == ([2.0, 2.0, 2.0], 2)
    assert (asked(process), lives.begun) == (2.0, 3)


def pool_of(monkeypatch: pytest.MonkeyPatch, processes: int, ask: Callable[[Call], Answer]) -> Pool:
    """One whose processes answer by a function."""
    monkeypatch.setattr(_Process, "ask", lambda self, label, call, time_limit: ask(call))
    return Pool("mine", Made("mine", {}), processes)


def test_what_cannot_leave_this_process_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer and the objects that played; the state goes without its class."""

    class Here:
        def __init__(self) -> None:
            self.global_step = 7

    def ask(given: Call) -> Answer:
        assert (given.tokenizer, given.instances, given.state) == (None, (), SimpleNamespace(global_step=7))
        return Answer([1.0])

    call = call_of(["p"], ["c"], [[1]], {}, state=Here(), tokenizer=object(), instances=[object()])
    assert pool_of(monkeypatch, 1, ask)(call).values == [1.0]


def test_as_many_are_asked_at_once_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=10)

    def ask(given: Call) -> Answer:
        both.wait()
        return Answer([float(given.arguments["completions"][0])])

    call, asks = call_of(["p"] * 4, list("1234"), [[1]] * 4, {}), pool_of(monkeypatch, 2, ask)
    try:
        assert within(10, lambda: asks(call).values) == [1.0, 2.0, 3.0, 4.0]
    finally:
        for _ in range(4):  # threads that still waited for one would keep Python from ending
            asks._idle.put(_Process(Made("mine", {}), 1))
