"""Groups without signal: which they are, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from played import trajectory

from burnish.rollout.filtering import has_signal, keep_groups, with_signal
from burnish.rollout.trajectory import Trajectory


def group(number: int, *rewards: float) -> list[Trajectory]:
    return [replace(trajectory(number, member, [5]), rewards={"a": one}, reward=one) for member, one in enumerate(rewards)]


@pytest.mark.parametrize(
    ("rewards", "has"), [((0.0, 1.0), True), ((1.0, 1.0, 1.0), False), ((0.1 + 0.2, 0.3), False), ((1.0,), False), ((), False)]
)
def test_rewards_that_differ_are_a_signal(rewards: tuple[float, ...], has: bool) -> None:
    assert has_signal(group(0, *rewards)) is has


def test_only_what_can_be_trained_on_counts() -> None:
    right, wrong = group(0, 1.0, 0.0)
    assert not has_signal([right, replace(wrong, outcome="timeout")])
    assert not has_signal([right, replace(right, origin=replace(right.origin, member=1)), trajectory(0, -1, [5])])


def test_groups_without_signal_are_filtered_and_failures_stay_what_they_are() -> None:
    every = [*group(4, 1.0, 1.0), *group(2, 0.0, 1.0), *(replace(one, outcome="timeout") for one in group(3, 0.0, 1.0))]
    assert with_signal(every) == [2]
    kept = keep_groups(every, [2])
    assert [one.outcome for one in kept] == ["filtered"] * 2 + ["ok"] * 2 + ["timeout"] * 2
    assert [one.reward for one in kept] == [one.reward for one in every]
