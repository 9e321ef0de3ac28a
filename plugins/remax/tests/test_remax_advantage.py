"""ReMax on numbers worked out by hand."""

from __future__ import annotations

import pytest
from burnish_remax.advantage import AgainstGreedy

from burnish.errors import RewardError
from burnish.registry import AdvantageRecord, load
from burnish.testing import check_advantage, groups


def test_the_baseline_is_the_greedy_reward_of_the_same_prompt() -> None:
    found = AgainstGreedy()(groups([[1.0, 0.0], [], [2.0, 3.0, 4.0]], greedy=[0.25, 9.0, 3.0]))
    assert found.values.tolist() == [0.75, -0.25, -1.0, 0.0, 1.0]
    assert found.lengths.tolist() == [2, 0, 3]


def test_a_constant_group_is_told_from_its_greedy_completion() -> None:
    assert AgainstGreedy()(groups([[1.0], [1.0, 1.0]], greedy=[1.0, 0.0])).values.tolist() == [0.0, 1.0, 1.0]


def test_without_greedy_completions_it_says_what_is_missing() -> None:
    with pytest.raises(RewardError, match="`greedy`"):
        AgainstGreedy()(groups([[1.0]]))


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "remax") is AgainstGreedy
    check_advantage("remax").raise_for_failures()
