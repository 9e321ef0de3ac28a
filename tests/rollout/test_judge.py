"""Judging: rewards that apply, groups without those that failed, advantages on the tokens they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from played import prompt, trajectory

from burnish.errors import RewardError
from burnish.objective.ragged import Ragged
from burnish.rollout.contract import Groups
from burnish.rollout.judge import Judge, with_advantages
from burnish.rollout.metrics import rollout_metrics
from burnish.rollout.rewards import Reward
from burnish.rollout.trajectory import Trajectory
from burnish.testing import tiny_tokenizer


def length(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """None for completions of one token."""
    return [None if len(ids) == 1 else float(len(ids)) for ids in completion_ids]


def first(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """None for those that begin with 9."""
    return [None if ids[0] == 9 else float(ids[0]) for ids in completion_ids]


JUDGE = Judge((Reward("length", length), Reward("first", first, 0.5)), tiny_tokenizer(chat=False))


class Centred:
    """A reward minus its group's mean."""

    def __call__(self, groups: Groups) -> Ragged:
        return groups.rewards - groups.rewards.per_token(groups.rewards.mean())


def judged(*trajectories: Trajectory) -> list[Trajectory]:
    return JUDGE(trajectories, [prompt(one.origin.group).example for one in trajectories])


def test_the_weighted_sum_of_what_applies() -> None:
    both, one, none = judged(trajectory(0, 0, [4, 5]), trajectory(0, 1, [6]), trajectory(0, 2, [9]))
    assert (both.rewards, both.reward) == ({"length": 2.0, "first": 4.0}, 2.0 + 0.5 * 4.0)
    assert (one.rewards, one.reward, one.outcome) == ({"length": None, "first": 6.0}, 3.0, "ok")
    assert (none.outcome, none.is_trainable) == ("filtered", False)


def test_what_failed_is_not_judged() -> None:
    broken = replace(trajectory(0, 1, [4, 5]), outcome="timeout")
    _, found = judged(trajectory(0, 0, [4, 5]), broken)
    assert found.rewards == {}


def test_an_environment_and_rewards_together() -> None:
    [one] = judged(replace(trajectory(0, 0, [4, 5]), rewards={"environment": 0.25}))
    assert one.reward == 0.25 + 2.0 + 2.0


def test_advantages_are_of_groups_without_those_that_failed() -> None:
    members = [trajectory(0, 0, [4, 5]), trajectory(0, 1, [8, 8, 8]), trajectory(1, 0, [4, 4])]
    failed = replace(trajectory(0, 2, [4, 5]), outcome="environment_error")
    # rewards: 2 + 2 = 4, 3 + 4 = 7, 2 + 2 = 4; the failed one is no fourth
    done = with_advantages([*judged(*members), failed], Centred(), {"length": 1.0, "first": 0.5}, {})
    found = {(one.origin.group, one.origin.member): one.tokens.get("advantages") for one in done}
    assert found[0, 0].tolist() == [0, 0, -1.5, -1.5]
    assert found[0, 1].tolist() == [0, 0, 1.5, 1.5, 1.5]
    assert found[1, 0].tolist() == [0, 0, 0, 0]
    assert found[0, 2] is None


def test_what_an_advantage_is_shown() -> None:
    seen: list[Groups] = []

    @dataclass(frozen=True)
    class Looks:
        needs: frozenset[str] = frozenset({"token_rewards", "steps", "greedy"})

        def __call__(self, groups: Groups) -> Ragged:
            seen.append(groups)
            return groups.rewards

    two = judged(trajectory(0, 0, [4, 5]), trajectory(1, 0, [6]))
    with_advantages(two, Looks(), {"length": 1.0, "first": 0.5}, {0: 3.0, 1: 2.0})
    [groups] = seen
    assert groups.rewards.lengths.tolist() == [1, 1]
    assert groups.parts["first"].values.tolist() == [4.0, 6.0]
    assert groups.parts["length"].values[1].isnan()
    assert dict(groups.weights) == {"length": 1.0, "first": 0.5}
    assert groups.lengths.values.tolist() == [2.0, 1.0]
    assert groups.greedy is not None
    assert groups.greedy.tolist() == [3.0, 2.0]
    assert groups.steps is not None
    assert groups.steps.values.tolist() == [0.0, 0.0, 0.0]


def test_one_number_for_each_token_goes_to_its_token() -> None:
    class PerToken:
        def __call__(self, groups: Groups) -> Ragged:
            lengths = groups.lengths.values.long()
            return Ragged(torch.arange(float(lengths.sum()), dtype=torch.float64), lengths)

    done = with_advantages(judged(trajectory(0, 0, [4, 5]), trajectory(0, 1, [6, 7])), PerToken(), {}, {})
    assert [one.tokens["advantages"].tolist() for one in done] == [[0, 0, 0, 1], [0, 0, 2, 3]]


def test_those_that_are_not_kept_are_filtered() -> None:
    class Best(Centred):
        def keeps(self, groups: Groups) -> torch.Tensor:
            return groups.rewards.values > 5

    done = with_advantages(judged(trajectory(0, 0, [4, 5]), trajectory(0, 1, [8, 8, 8])), Best(), {}, {})
    assert [one.outcome for one in done] == ["filtered", "ok"]


@pytest.mark.parametrize(
    ("values", "said"), [([1.0], "gave 1 numbers for 2 completions of 4 tokens"), ([1.0, float("nan")], "finite")]
)
def test_an_advantage_of_another_shape_or_no_number_is_refused(values: list[float], said: str) -> None:
    class Wrong:
        def __call__(self, groups: Groups) -> Ragged:
            return Ragged(torch.tensor(values, dtype=torch.float64), torch.tensor([len(values)]))

    with pytest.raises(RewardError, match=said):
        with_advantages(judged(trajectory(0, 0, [4, 5]), trajectory(0, 1, [6, 7])), Wrong(), {}, {})


def test_metrics_by_hand() -> None:
    cut = replace(trajectory(1, 1, [4, 4, 4]), outcome="truncated")
    lost = replace(trajectory(1, 2, [4, 4]), outcome="timeout")
    # rewards 4, 7 | 2 + 2 = 4, 3 + 2 = 5
    members = judged(trajectory(0, 0, [4, 5]), trajectory(0, 1, [8, 8, 8]), trajectory(1, 0, [4, 4]), cut, lost)
    metrics = rollout_metrics(members)
    assert metrics["reward"] == pytest.approx(5.0)
    assert metrics["reward_std"] == pytest.approx((4.5**0.5 + 0.5**0.5) / 2)  # stds of {4, 7} and {4, 5}, n - 1
    assert metrics["frac_reward_zero_std"] == 0.0
    assert metrics["rewards/length/mean"] == pytest.approx(2.5)
    assert metrics["rewards/length/std"] == pytest.approx((4 * 0.25 / 3) ** 0.5)  # of 2, 3, 2, 3
    assert metrics["completions/mean_length"] == pytest.approx(2.5)
    assert metrics["completions/max_terminated_length"] == 3.0
    assert metrics["completions/mean_terminated_length"] == pytest.approx(7 / 3)
    assert metrics["completions/clipped_ratio"] == 0.25
    assert metrics["outcomes/timeout"] == pytest.approx(0.2)
