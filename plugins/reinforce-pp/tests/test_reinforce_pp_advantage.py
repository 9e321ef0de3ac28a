"""REINFORCE++ on numbers worked out by hand."""

from __future__ import annotations

import pytest
from burnish_reinforce_pp.advantage import GloballyWhitened

from burnish.errors import RewardError
from burnish.registry import AdvantageRecord, load
from burnish.testing import check_advantage, groups

Numbers = list[list[float]]


def advantages(rewards: Numbers, token_rewards: Numbers, group_baseline: bool = False) -> list[float]:
    given = groups(rewards, token_rewards=token_rewards)
    return [float(value) for value in GloballyWhitened(group_baseline=group_baseline)(given).values]


def test_rewards_are_whitened_over_all_tokens() -> None:
    # G: 2, then 0, 0, 0 for the longer completion. mean .5, var ((1.5)^2 + 3 (.5)^2) / 3 = 1, so A = 1.5, -.5, -.5, -.5
    found = advantages([[2.0], [0.0]], [[0.0], [0.0, 0.0, 0.0]])
    assert found == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-7)


def test_a_token_is_credited_with_what_comes_after_it() -> None:
    # G of the first: 1 - .5 - .5 = 0, 1 - .5 = .5; of the second: 1, 1.5 (its penalty is a bonus of -.5 before). mean .75
    found = advantages([[1.0, 1.5]], [[-0.5, -0.5], [-0.5, 0.0]])
    var = (0.75**2 + 0.25**2 + 0.25**2 + 0.75**2) / 3
    assert found == pytest.approx([value / var**0.5 for value in (-0.75, -0.25, 0.25, 0.75)], rel=1e-6)


def test_the_group_baseline_forgives_hard_prompts() -> None:
    # Rewards 1, 1 of an easy prompt; 0, 1 of a hard one. Without a baseline the easy one's are praised.
    rewards, nothing = [[1.0, 1.0], [0.0, 1.0]], [[0.0]] * 4
    assert advantages(rewards, nothing)[0] > 0.4
    # With it: 0, 0, -.5, .5; var (.25 + .25) / 3
    std = (0.5 / 3 + 1e-8) ** 0.5
    assert advantages(rewards, nothing, True) == pytest.approx([0.0, 0.0, -0.5 / std, 0.5 / std], abs=1e-9)


@pytest.mark.parametrize("group_baseline", [False, True])
def test_equal_rewards_throughout_and_a_batch_of_one_token_give_nothing(group_baseline: bool) -> None:
    assert advantages([[0.1] * 3, [0.1]], [[0.0, 0.0]] * 4, group_baseline) == [0.0] * 8
    assert advantages([[0.7]], [[0.0]], group_baseline) == [0.0]


def test_the_scale_of_rewards_does_not_matter() -> None:
    rewards, more = [[1.0, 0.0], [0.5]], [[10.0, 0.0], [5.0]]
    nothing = [[0.0, 0.0], [0.0], [0.0]]
    assert advantages(rewards, nothing) == pytest.approx(advantages(more, nothing), rel=1e-6)


def test_without_token_rewards_it_says_what_is_missing() -> None:
    with pytest.raises(RewardError, match="`token_rewards`"):
        GloballyWhitened()(groups([[1.0]]))


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "reinforce_pp") is GloballyWhitened
    for group_baseline in (False, True):
        check_advantage("reinforce_pp", options={"group_baseline": group_baseline}).raise_for_failures()
