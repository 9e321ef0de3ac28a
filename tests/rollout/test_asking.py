"""Rewards under time limits, in processes and from the cache: what fails is one completion's business, and says so."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import PluginError, RewardError
from burnish.registry import load
from burnish.registry.records import RewardRecord
from burnish.rollout.asking import Answer, Call, Failure
from burnish.rollout.rewards import Reward, ask_all, call_of, load_reward, run_rewards

CODE = '''
import os, signal, sys, time

CALLS = []

def counts(completions, **_):
    """The calls that this process has had; what it prints does not matter."""
    CALLS.append(1)
    print("noise")
    return [float(len(CALLS))] * len(completions)

def odd(completions, log_extra, log_metric, factor=1.0, **_):
    [text] = completions
    if text == "sleep":
        time.sleep(12)  # and then it would answer
    if text == "raise":
        raise KeyError("no such answer")
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    log_extra("seen", [text.upper()])
    log_metric("length", len(text))
    return [factor * len(text)]
'''


def call(*completions: str, **about: Any) -> Call:
    return call_of(["p"] * len(completions), list(completions), [[1]] * len(completions), {}, **about)


def one(function: Callable[..., Any], asked: Call, one_by_one: bool = False, **settings: Any) -> Answer:
    return ask_all([Reward("mine", function, **settings)], asked, one_by_one=one_by_one)["mine"]


def failure(value: Any) -> Failure:
    assert isinstance(value, Failure)
    return value


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(CODE)
    return str(tmp_path / "mine.py")


def test_one_completion_that_raises_takes_no_other_with_it() -> None:
    def strict(completions: Sequence[str], **_: Any) -> list[float]:
        return [float(text) for text in completions]

    together = one(strict, call("1", "x", "3"))
    assert all(isinstance(value, Failure) for value in together.values)
    good, bad, other = one(strict, call("1", "x", "3"), one_by_one=True).values
    assert (good, other) == (1.0, 3.0)
    assert failure(bad).outcome == "reward_error"
    assert "the reward 'mine' raised ValueError: could not convert string to float: 'x'" in failure(bad).sentence
    assert "float(text) for text in completions" in failure(bad).trace


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_reward_that_hangs_is_left_behind(asynchronous: bool) -> None:
    def hangs(completions: Sequence[str], **_: Any) -> list[float]:
        time.sleep(3)
        return [0.0] * len(completions)

    async def hangs_too(completions: Sequence[str], **_: Any) -> list[float]:
        await asyncio.sleep(3)
        return [0.0] * len(completions)

    began = time.monotonic()
    values = one(hangs_too if asynchronous else hangs, call("a", "b"), time_limit=0.1).values
    assert time.monotonic() - began < 2
    assert [failure(value).outcome for value in values] == ["timeout", "timeout"]
    assert failure(values[0]).sentence == "the reward 'mine' took longer than its time limit of 0.1 s for 2 completions"


def test_a_timeout_of_the_reward_s_own_is_what_it_raised() -> None:
    async def gives_up(**_: Any) -> list[float]:
        raise TimeoutError("the server sleeps")

    value = failure(one(gives_up, call("a"), time_limit=5.0).values[0])
    assert (value.outcome, "TimeoutError: the server sleeps" in value.sentence) == ("reward_error", True)


def test_a_number_that_is_none_names_row_and_value() -> None:
    asked = call("a", "b", whose=["row 4 of main", "row 7 of main"])
    fine, bad = one(lambda **_: [1.0, float("nan")], asked, one_by_one=True).values
    assert fine == 1.0
    assert failure(bad).sentence == "the reward 'mine' returned nan for row 7 of main; it must be a finite number, or None"


def test_what_trl_gives_a_reward_beside_the_columns() -> None:
    def chatty(completions: Sequence[str], **kwargs: Any) -> list[float]:
        kwargs["log_extra"]("upper", [text.upper() for text in completions])
        kwargs["log_metric"]("share", 0.5)
        return [float(kwargs["trainer_state"])] * len(completions)

    answer = one(chatty, call("a", "b", state=7, extras=True))
    assert answer == Answer([7.0, 7.0], {"upper": ["A", "B"]}, {"share": [0.5]})

    def wrong(log_extra: Any, **_: Any) -> list[float]:
        log_extra("upper", ["A"])
        return [1.0, 1.0]

    assert "logged 1 values 'upper' for 2 completions" in failure(one(wrong, call("a", "b")).values[0]).sentence


def test_processes_lose_only_the_completion_that_fails(file: str) -> None:
    registry = load(run_code=True)
    reward = load_reward(f"{file}:odd", registry, options={"factor": 2.0}, processes=2, time_limit=3.0)
    asked = call("aa", "raise", "sleep", "die", "bbb", whose=[f"row {place} of main" for place in range(5)])
    answer = ask_all([reward], asked, one_by_one=True)["odd"]
    first, raised, slept, died, last = answer.values
    assert (first, last) == (4.0, 6.0)
    assert "the reward 'odd' raised KeyError: 'no such answer'" in failure(raised).sentence
    assert "KeyError" in failure(raised).trace
    assert failure(slept).outcome == "timeout"
    assert failure(slept).sentence == "the reward 'odd' took longer than its time limit of 3 s for row 2 of main"
    assert failure(died).sentence == "the process of the reward 'odd' died with SIGKILL over row 3 of main"
    assert answer.columns["seen"] == ["AA", None, None, None, "BBB"]
    assert sorted(answer.metrics["length"]) == [2.0, 3.0]
    with pytest.raises(RewardError, match="died with SIGKILL"):
        run_rewards([reward], ["p"], ["die"], [[1]], {})


def test_processes_are_recycled(file: str) -> None:
    reward = load_reward(f"{file}:counts", load(run_code=True), processes=1)
    assert reward.pool is not None
    short = replace(reward, pool=replace(reward.pool, recycle=3))
    assert ask_all([short], call(*"abcde"))["counts"].values == [1.0, 2.0, 3.0, 1.0, 2.0]


def test_a_process_that_cannot_have_the_reward_says_so(file: str) -> None:
    reward = load_reward(f"{file}:counts", load(run_code=True), processes=1)
    Path(file).write_text("raise ImportError('half a file')\n")
    with pytest.raises(RewardError, match="half a file"):
        ask_all([reward], call("a"))


def test_the_cache_is_asked_first_and_keeps_no_failures(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "ASKED = []\n\n\ndef mine(completions, answer, **_):\n    ASKED.extend(completions)\n"
        "    return [None if a is None else float(c) for c, a in zip(completions, answer)]\n"
    )

    def ask(*completions: str, answer: Any = 1, options: dict[str, Any] | None = None) -> list[Any]:
        reward = load_reward(f"{code}:mine", load(run_code=True), options=options, cache=tmp_path / "cache")
        columns = {"answer": [answer] * len(completions)}
        asked = call_of(["p"] * len(completions), list(completions), [[1]] * len(completions), columns)
        return ask_all([reward], asked, one_by_one=True)["mine"].values

    assert ask("1", "2") == [1.0, 2.0]
    assert ask("2", "3", "1") == [2.0, 3.0, 1.0]
    assert ask("2", answer=None) == [None]
    assert ask("2", answer=None) == [None]
    assert isinstance(ask("x")[0], Failure)
    assert isinstance(ask("x")[0], Failure)
    module = load(run_code=True).custom(f"{code}:ASKED")
    assert module == ["1", "2", "3", "2", "x", "x"]


def test_a_record_says_how_its_reward_is_asked() -> None:
    reward = load_reward("format_regex", load(), options={"pattern": "(a+)+b"})
    assert reward.pool is not None
    assert reward.time_limit is not None
    assert load_reward("format_regex", load(), options={"pattern": "a"}, processes=0).pool is None
    with pytest.raises(PluginError, match="cannot run in -1 processes"):
        RewardRecord(name="x", target="m:f", summary="s", api=1, processes=-1)


def test_the_kill_reaches_what_a_process_has_started(tmp_path: Path) -> None:
    (tmp_path / "spawns.py").write_text(
        "import subprocess, time, pathlib\n\n\ndef spawns(completions, **_):\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n    time.sleep(60)\n"
    )
    reward = load_reward(f"{tmp_path / 'spawns.py'}:spawns", load(run_code=True), processes=1, time_limit=1.0)
    [value] = ask_all([reward], call("a"))["spawns"].values
    assert failure(value).outcome == "timeout"
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _lives(child):
        time.sleep(0.05)
    assert not _lives(child)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
