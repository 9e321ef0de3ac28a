"""Answers compared as mathematics, and expressions that are there to do harm."""

from __future__ import annotations

import threading
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from burnish_math.reward import Math, _worker
from burnish_math.worker import Worker

from burnish.errors import RewardError
from burnish.registry import load
from burnish.rollout.rewards import load_reward, run_rewards
from burnish.testing import check_reward

PATIENT = 60.0  # seconds of the processor, so that a first comparison on a busy machine is not cut


@pytest.fixture(scope="module")
def reward() -> Math:
    return Math(time_limit=PATIENT)


@pytest.mark.parametrize(
    ("said", "right", "expected"),
    [
        (r"It is $\boxed{\frac{1}{2}}$.", "1/2", 1.0),
        ("The answer is 0.5", r"\frac{1}{2}", 1.0),
        ("1,234 apples, so 1234", "1234", 1.0),
        (r"$\boxed{x^2 + 2x + 1}$", "$(x+1)^2$", 1.0),
        (r"$\{2, 1\}$", r"$\{1, 2\}$", 1.0),
        ("The answer is 3", "4", 0.0),
        ("no number here", "4", 0.0),
        ("", "4", 0.0),
        ("4", "a colour", None),
        ("4", None, None),
    ],
)
def test_answers(reward: Math, said: str, right: str | None, expected: float | None) -> None:
    assert reward([said], answer=[right]) == [expected]


def test_math_verify_says_the_same(reward: Math) -> None:
    from math_verify import parse, verify

    cases = [("$2x$", "$x + x$"), ("7 or 8", "8"), (r"$\sqrt{8}$", r"$2\sqrt{2}$"), ("$x = 3$", "3"), ("50\\%", "0.5")]
    expected = [float(verify(parse(right), parse(said))) for said, right in cases]
    assert reward([said for said, _ in cases], answer=[right for _, right in cases]) == expected
    assert 1.0 in expected


def test_the_column_may_be_called_solution_and_messages_are_read(reward: Math) -> None:
    said: list[Any] = [[{"role": "assistant", "content": "It is 4."}], "It is 5."]
    assert reward(said, solution=["4", "4"]) == [1.0, 0.0]
    assert reward(said, answer=[None, "5"], solution=["4", None]) == [1.0, 1.0]
    with pytest.raises(RewardError, match="`answer`, or `solution`"):
        reward(said)


def test_an_expression_that_never_ends_is_unequal_and_harms_nothing() -> None:
    # The first is a power that heeds no signal, so the kernel kills the process; another takes its place.
    worker = Worker(1.0)
    assert worker.equal("4", "$9^{9^{9^{9}}} + 9^{9^{8^{7}}}$") == 0.0
    assert worker.equal("4", "$" + "+".join(f"\\sqrt[{n}]{{x^{n} + {n}}}" for n in range(2, 200)) + "$") == 0.0


def test_a_process_that_dies_is_replaced() -> None:
    worker = Worker(PATIENT)
    assert worker.equal("4", "4") == 1.0
    process = worker._process
    assert isinstance(process, Popen)
    process.kill()
    process.wait()
    assert worker.equal("4", "5") == 0.0
    assert worker._process is not process


def test_what_libraries_complain_of_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of it than a pipe holds, where nobody reads."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, math_verify\n"
        "read = math_verify.parse\n"
        "math_verify.parse = lambda *a, **k: (sys.stderr.write('x' * 10**5), read(*a, **k))[1]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found: list[Any] = []
    worker = Worker(PATIENT)
    asking = threading.Thread(target=lambda: found.append(worker.equal("4", "4")), daemon=True)
    asking.start()
    asking.join(60)
    assert found == [1.0]


def test_it_works_outside_of_the_main_thread(reward: Math) -> None:
    # math-verify's own limits do not.
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.extend(reward(["4"], answer=["4"]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.0] * 3


def test_a_time_limit_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="time_limit"):
        Math(time_limit=0.0)


def test_it_runs_under_its_name_and_holds_what_every_reward_must() -> None:
    loaded = load_reward("math", load(), options={"time_limit": PATIENT})
    assert run_rewards([loaded], ["2 + 2?"], ["4"], [[1]], {"answer": ["4"]}) == {"math": [1.0]}
    rows = [{"prompt": "2 + 2?", "completion": text, "answer": "4"} for text in ("4", "", "five")]
    check_reward("math", data=rows, options={"time_limit": PATIENT}).raise_for_failures()
    assert _worker(PATIENT) is _worker(PATIENT)
