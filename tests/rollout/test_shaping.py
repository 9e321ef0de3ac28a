"""The divergence in the reward, by hand: per token, summed, with both estimators."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from typing import Any

import numpy as np
import pytest
from played import trajectory

from burnish.config.sections import KLInRewardSection
from burnish.rollout.contract import Groups
from burnish.rollout.judge import with_advantages
from burnish.rollout.shaping import with_kl
from burnish.rollout.trajectory import Trajectory


def scored(member: int = 0, reward: float = 1.0, **tokens: Any) -> Trajectory:
    """Prompt [1, 2], answer [5, 6]; lp -1 and -2 unless `old` says otherwise, lr -1.5 and -1.75; a reward of 1."""
    one = replace(trajectory(0, member, [5, 6], logps=[-1.0, -2.0]), rewards={"right": reward}, reward=reward)
    numbers = {"reference": [9.0, 9.0, -1.5, -1.75], **tokens}
    return one.with_tokens(**{name: np.array(values, np.float32) for name, values in numbers.items()})


def test_k1_is_the_difference() -> None:
    """d = .5 and -.25; beta .1: -.05 and +.025, together -.025."""
    one = with_kl(scored(), KLInRewardSection(beta=0.1))
    assert one.earned["kl_in_reward"].tolist() == pytest.approx([0, 0, -0.05, 0.025])
    assert one.rewards == {"right": 1.0, "kl_in_reward": pytest.approx(-0.025)}
    assert one.reward == pytest.approx(0.975)


def test_k3_is_never_a_gain() -> None:
    one = with_kl(scored(), KLInRewardSection(beta=0.1, estimator="k3"))
    by_hand = [-0.1 * (exp(-0.5) - 1 + 0.5), -0.1 * (exp(0.25) - 1 - 0.25)]
    assert one.earned["kl_in_reward"][2:].tolist() == pytest.approx(by_hand, rel=1e-5)


def test_old_is_the_policy_where_it_was_scored() -> None:
    """d = -1 + 1.5 with behaviour; with old -1.25 and -1.75 it is .25 and 0."""
    one = with_kl(scored(old=[0, 0, -1.25, -1.75]), KLInRewardSection(beta=1.0))
    assert one.earned["kl_in_reward"].tolist() == [0, 0, -0.25, 0]


def test_a_policy_that_is_the_reference_loses_nothing() -> None:
    one = with_kl(scored(reference=[0, 0, -1.0, -2.0]), KLInRewardSection(beta=1.0))
    assert one.reward == 1.0


@pytest.mark.parametrize("per_token", [False, True])
def test_between_rewards_and_advantages(per_token: bool) -> None:
    """Two answers, rewards 1 and 0, the second d = 0 and -.25: -.025 and +.025 for the whole, or each at its token."""
    seen: list[Groups] = []

    class Looks:
        needs = frozenset({"token_rewards"} if per_token else ())

        def __call__(self, groups: Groups) -> Any:
            seen.append(groups)
            return groups.rewards

    section = KLInRewardSection(beta=0.1)
    second = scored(1, reward=0.0, old=[0, 0, -1.5, -2.0])
    with_advantages([with_kl(scored(), section), with_kl(second, section)], Looks(), {}, {})
    [groups] = seen
    if per_token:
        assert groups.rewards.values.tolist() == [1.0, 0.0]
        assert groups.need("token_rewards").values.tolist() == pytest.approx([-0.05, 0.025, 0.0, 0.025])
    else:
        assert groups.rewards.values.tolist() == pytest.approx([0.975, 0.025])
        assert groups.parts["kl_in_reward"].values.tolist() == pytest.approx([-0.025, 0.025])
