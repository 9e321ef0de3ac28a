"""Advantages of steps and turns on numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_step.advantage import StepRewards

from burnish.errors import RewardError
from burnish.registry import AdvantageRecord, load
from burnish.rollout.contract import Episode, Span
from burnish.rollout.judge import with_advantages
from burnish.rollout.sampler import Completion
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.testing import check_advantage, groups

Numbers = list[list[float]]


def advantages(rewards: Numbers, token_rewards: Numbers, steps: list[list[int]], **options: Any) -> list[float]:
    given = groups(rewards, token_rewards=token_rewards, steps=steps)
    return [float(value) for value in StepRewards(**options)(given).values]


def test_process_supervision_credits_a_token_with_its_step_and_the_later_ones() -> None:
    # Steps of the group earned 1, 0 and 2, 1: mean 1, std sqrt((0 + 1 + 1 + 0) / 3) = .8165: z = 0, -u, u, 0.
    # First completion (steps of 2 and 1 tokens): 0 - u, 0 - u, then -u. Second (1 and 2 tokens): u + 0, then 0, 0.
    found = advantages([[0.0, 0.0]], [[0.0, 1.0, 0.0], [2.0, 0.5, 0.5]], [[0, 0, 1], [0, 1, 1]])
    u = 1 / ((2 / 3) ** 0.5 + 1e-4)
    assert found == pytest.approx([-u, -u, -u, u, 0.0, 0.0])


def test_later_steps_are_discounted_by_steps_not_by_tokens() -> None:
    # Steps earned 0, 0, 3: centred -1, -1, 2. With gamma .5: third 2; second -1 + .5 * 2 = 0; first -1 + .5 * 0 = -1.
    steps, token_rewards = [[0, 0, 1, 1, 1, 2]], [[0.0, 0.0, 0.0, 0.0, 0.0, 3.0]]
    found = advantages([[0.0]], token_rewards, steps, gamma=0.5, scale="none")
    assert found == pytest.approx([-1.0, -1.0, 0.0, 0.0, 0.0, 2.0])
    alone = advantages([[0.0]], token_rewards, steps, gamma=0.0, scale="none")
    assert alone == pytest.approx([-1.0, -1.0, -1.0, -1.0, -1.0, 2.0])


def test_the_completions_own_reward_counts_for_all_its_tokens() -> None:
    # Nothing earned by steps; rewards 1 and 0 are .5 and -.5 from their mean.
    found = advantages([[1.0, 0.0]], [[0.0, 0.0], [0.0]], [[0, 1], [0]], scale="none")
    assert found == [0.5, 0.5, -0.5]


def test_steps_are_compared_within_their_group_only() -> None:
    one: tuple[Numbers, Numbers, list[list[int]]] = ([[0.0, 1.0]], [[1.0, 0.0], [0.0]], [[0, 1], [0]])
    other: tuple[Numbers, Numbers, list[list[int]]] = ([[2.0]], [[5.0, 9.0]], [[0, 3]])
    together = advantages(one[0] + other[0], one[1] + other[1], one[2] + other[2])
    assert together == pytest.approx(advantages(*one) + advantages(*other))


@pytest.mark.parametrize("scale", ["group", "none"])
def test_equal_steps_and_completions_give_nothing(scale: str) -> None:
    found = advantages([[0.1] * 3, [], [0.7]], [[0.1, 0.1], [0.1], [], [0.3]], [[0, 1], [0], [], [0]], scale=scale)
    assert found == [0.0] * 4


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"scale": "batch"}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        StepRewards(**options)


def test_without_steps_it_says_what_is_missing() -> None:
    with pytest.raises(RewardError, match="`steps`"):
        StepRewards()(groups([[1.0]], token_rewards=[[0.0]]))


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "step") is StepRewards
    for gamma in (1.0, 0.5):
        check_advantage("step", options={"gamma": gamma}).raise_for_failures()


def test_turns_of_episodes_reach_their_tokens() -> None:
    """Turns earned 1 and 3, the whole .5: centred -1 and 1, the whole alone in its group 0; with gamma 0 only the own turn
    counts."""
    written = [Completion(ids, [-1.0] * len(ids), finished=True) for ids in ([5, 6], [7])]
    turns = [Span(ids=tuple(said.ids), sampled=said, reward=reward) for said, reward in zip(written, (1.0, 3.0), strict=True)]
    episode = Episode(spans=(Span(ids=(1,)), turns[0], Span(ids=(2,)), turns[1]), reward=0.5)
    one = Trajectory.of(Origin("main", 0, 0, 0, 0), episode, 0)
    [done] = with_advantages([one], StepRewards(gamma=0.0, scale="none"), {}, {})
    assert done.tokens["advantages"].tolist() == [0, -1.0, -1.0, 0, 1.0]
