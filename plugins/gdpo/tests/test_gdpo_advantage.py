"""Advantages normalised reward by reward, on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from burnish_gdpo.advantage import Decoupled
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.registry import AdvantageRecord, load
from burnish.testing import check_advantage, groups

Rewards = list[list[float]]


def advantages(parts: dict[str, Rewards], weights: dict[str, float] | None = None) -> list[float]:
    first = next(iter(parts.values()))
    given = groups(first, parts=parts, weights=weights)
    return [float(value) for value in Decoupled()(given).values]


def test_every_reward_is_measured_by_its_own_spread() -> None:
    # One group of three. a: 0, 1, 2 with mean 1, std 1; b: 0, 0, 30 with mean 10, std sqrt((100 + 100 + 400) / 2) = 17.3205
    a, b = [-1.0, 0.0, 1.0], [-10 / 300**0.5, -10 / 300**0.5, 20 / 300**0.5]
    summed = [2 * one / 1.0001 + other / (1 + 1e-4 / 300**0.5) for one, other in zip(a, b, strict=True)]  # weights 2 and 1
    std = math.sqrt(sum(value**2 for value in summed) / 2)
    expected = [value / (std + 1e-4) for value in summed]
    found = advantages({"a": [[0.0, 1.0, 2.0]], "b": [[0.0, 0.0, 30.0]]}, {"a": 2.0, "b": 1.0})
    assert found == pytest.approx(expected, rel=1e-12)


def test_equal_sums_from_different_rewards_are_told_apart() -> None:
    # Sums are 1, 1, 0: `group` would give the first two the same. Reward a is rarer here, so it counts more.
    found = advantages({"a": [[1.0, 0.0, 0.0, 0.0]], "b": [[0.0, 1.0, 1.0, 0.0]]})
    assert found[0] > found[1] == found[2]


def test_a_reward_counts_where_it_applies() -> None:
    # b applies to the first two only: there 1, 0, so +-1 / (sqrt(2) (.5) 2): mean .5, std .70711; the third gets nothing of it.
    nan = math.nan
    found = advantages({"a": [[1.0, 1.0, 1.0]], "b": [[1.0, 0.0, nan]]})
    assert found[0] == -found[1] > 0
    assert found[2] == 0.0


def test_groups_of_one_and_constant_groups_give_nothing_beside_live_ones() -> None:
    found = advantages({"a": [[3.0], [0.1] * 7, [0.0, 1.0]]})
    assert found[:8] == [0.0] * 8
    assert found[8] == -found[9] != 0
    assert advantages({"a": [[3.0], [1.0, 1.0]]}) == [0.0] * 3


@given(st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=4), min_size=1, max_size=4), st.floats(1, 10))
@settings(deadline=None, max_examples=30)
def test_groups_do_not_move_each_other_apart_from_one_scale(drawn: Rewards, size: float) -> None:
    # Adding a constant to a group changes nothing, whatever the other groups are.
    moved = [[value + size for value in drawn[0]], *drawn[1:]]
    assert advantages({"a": moved}) == pytest.approx(advantages({"a": drawn}), abs=1e-6)


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "gdpo") is Decoupled
    check_advantage("gdpo").raise_for_failures()
