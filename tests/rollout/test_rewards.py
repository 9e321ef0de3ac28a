"""Reward functions are found and called as TRL calls them; every way of going wrong is one error that names the reward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import BurnishError, RewardError
from burnish.registry import load
from burnish.rollout.rewards import Reward, load_reward, run_rewards, told_apart


def run(function: Callable[..., Any], num_completions: int = 2, **columns: list[Any]) -> list[float | None]:
    completions = [f"text {index}" for index in range(num_completions)]
    ids = [[index] for index in range(num_completions)]
    return run_rewards([Reward("mine", function)], ["p"] * num_completions, completions, ids, columns)["mine"]


def test_a_reward_gets_all_arguments_or_those_it_names() -> None:
    seen: dict[str, Any] = {}

    def all_of_them(**given: Any) -> list[float]:
        seen.update(given)
        return [0.0, 0.0]

    def two_of_them(completions: list[str], answer: list[str]) -> list[float]:
        return [float(text == right) for text, right in zip(completions, answer, strict=True)]

    run(all_of_them, answer=["a", "b"])
    assert seen == {
        "prompts": ["p", "p"],
        "completions": ["text 0", "text 1"],
        "completion_ids": [[0], [1]],
        "answer": ["a", "b"],
    }
    assert run(two_of_them, answer=["text 0", "no"]) == [1, 0]


def test_none_is_kept_and_numbers_of_any_kind_become_floats() -> None:
    import numpy as np
    import torch

    assert run(lambda **_: [None, True]) == [None, 1.0]
    assert run(lambda **_: np.array([0.5, 2])) == [0.5, 2.0]
    assert run(lambda **_: torch.tensor([1, 0])) == [1.0, 0.0]


def test_async_rewards_run_side_by_side_and_inside_a_running_loop() -> None:
    meeting: dict[str, asyncio.Event] = {}

    def waiting_for(mine: str, other: str) -> Callable[..., Any]:
        async def reward(**_: Any) -> list[float]:
            meeting.setdefault(mine, asyncio.Event()).set()
            await asyncio.wait_for(meeting.setdefault(other, asyncio.Event()).wait(), 5)  # deadlocks one after the other
            return [1.0]

        return reward

    async def notebook() -> dict[str, list[float | None]]:
        rewards = [Reward("a", waiting_for("a", "b")), Reward("b", waiting_for("b", "a")), Reward("c", lambda **_: [2.0])]
        return run_rewards(rewards, ["p"], ["c"], [[1]], {})

    assert asyncio.run(notebook()) == {"a": [1.0], "b": [1.0], "c": [2.0]}


def raises(**_: Any) -> list[float]:
    raise ZeroDivisionError("by nothing")


async def raises_later(**_: Any) -> list[float]:
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, "reward 'mine' raised ZeroDivisionError: by nothing"),
        (raises_later, "reward 'mine' raised ZeroDivisionError: by nothing"),
        (lambda **_: [1.0], "reward 'mine' returned 1 values for 2 completions"),
        (lambda **_: 1.0, "must return a list of numbers, got float"),
        (lambda **_: None, "must return a list of numbers, got NoneType"),
        (lambda **_: [1.0, float("nan")], "returned nan for completion 1"),
        (lambda **_: ["good", 1.0], "returned 'good' for completion 0"),
        (lambda completions, answr: [0.0, 0.0], "asks for 'answr', which the rows lack. Did you mean 'answer'"),
        (lambda completions, answr, **_: [0.0, 0.0], "asks for 'answr', which the rows lack. Did you mean 'answer'"),
    ],
)
def test_whatever_goes_wrong_names_the_reward(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(RewardError, match=message):
        run(function, answer=["a", "b"])


def test_the_original_exception_is_kept() -> None:
    with pytest.raises(RewardError) as caught:
        run(raises)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@dataclass(frozen=True)
class Length:
    """A reward with an option."""

    most: int = 10

    def __call__(self, completions: list[str], **_: Any) -> list[float]:
        return [float(len(text) <= self.most) for text in completions]


def test_rewards_are_loaded_by_name_and_from_code(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def same(completions, value=0.0, **_):\n    return [value] * len(completions)\n")
    registry = load(run_code=True)
    reward = load_reward(f"{file}:same", registry, weight=2.0, options={"value": 3.0})
    assert (reward.name, reward.weight) == ("same", 2.0)
    assert run(reward.function) == [3.0, 3.0]
    with pytest.raises(BurnishError, match="no reward named 'nothing_like_it'"):
        load_reward("nothing_like_it", registry)


def test_a_class_is_built_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load()
    monkeypatch.setattr(registry, "find", lambda kind, name: Length)
    assert run(load_reward("length", registry, options={"most": 3}).function) == [0.0, 0.0]
    assert run(load_reward("length", registry).function) == [1.0, 1.0]
    with pytest.raises(RewardError, match=r"'length' does not take the options .*mst"):
        load_reward("length", registry, options={"mst": 3})
    with pytest.raises(RewardError, match=r"options.most: should be a valid integer, found 'three'"):
        load_reward("length", registry, options={"most": "three"})


def test_rewards_of_one_name_are_told_apart() -> None:
    rewards = told_apart([Reward("a", lambda **_: [1.0]), Reward("b", lambda **_: [2.0]), Reward("a", lambda **_: [3.0], 0.5)])
    assert [(reward.name, reward.weight) for reward in rewards] == [("a", 1.0), ("b", 1.0), ("a_2", 0.5)]
    assert run_rewards(rewards, ["p"], ["c"], [[1]], {}) == {"a": [1.0], "b": [2.0], "a_2": [3.0]}


def test_a_reward_that_cannot_work_says_so_itself(tmp_path: Path) -> None:
    (tmp_path / "locked.py").write_text(
        "from burnish.errors import RewardError\n\n\nclass Locked:\n    def __init__(self):\n"
        "        raise RewardError('programs cannot be shut in on this machine')\n"
    )
    with pytest.raises(RewardError, match=r"^programs cannot be shut in on this machine$"):
        load_reward(f"{tmp_path / 'locked.py'}:Locked", load(run_code=True))
