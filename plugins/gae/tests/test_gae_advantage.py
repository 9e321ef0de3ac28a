"""Generalised advantage estimation on numbers worked out by hand."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from burnish_gae.advantage import GAE
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import RewardError
from burnish.registry import AdvantageRecord, load
from burnish.rollout.contract import Episode, Span
from burnish.rollout.judge import with_advantages
from burnish.rollout.sampler import Completion
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.testing import check_advantage, groups

Numbers = list[list[float]]
TOKEN = st.tuples(st.floats(-2, 2), st.floats(-2, 2))


def raw(rewards: Numbers, values: Numbers, token_rewards: Numbers, gamma: float, lam: float) -> list[float]:
    given = groups(rewards, values=values, token_rewards=token_rewards)
    return [float(value) for value in GAE(gamma=gamma, lam=lam, whiten=False)(given).values]


def test_the_formula() -> None:
    # d_3 = 1 - 2 = -1; d_2 = .5 + .5 * 2 - 1 = .5; d_1 = 0 + .5 * 1 - 0 = .5; gamma lam = .25:
    # A_3 = -1; A_2 = .5 + .25 * -1 = .25; A_1 = .5 + .25 * .25 = .5625
    found = raw([[1.0]], [[0.0, 1.0, 2.0]], [[0.0, 0.5, 0.0]], gamma=0.5, lam=0.5)
    assert found == pytest.approx([0.5625, 0.25, -1.0])
    given = groups([[1.0]], values=[[0.0, 1.0, 2.0]], token_rewards=[[0.0, 0.5, 0.0]])
    assert GAE(gamma=0.5, lam=0.5).returns(given).values.tolist() == pytest.approx([0.5625, 1.25, 1.0])


def test_lambda_one_is_the_return_minus_the_value_and_zero_one_step() -> None:
    values, token_rewards = [[0.5, 0.25], [0.0]], [[0.0, 0.0], [0.0]]
    assert raw([[1.0, 2.0]], values, token_rewards, 1.0, 1.0) == pytest.approx([0.5, 0.75, 2.0])
    assert raw([[1.0, 2.0]], values, token_rewards, 1.0, 0.0) == pytest.approx([-0.25, 0.75, 2.0])


@given(st.lists(st.lists(TOKEN, min_size=1, max_size=6), min_size=1, max_size=4), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_it_is_the_recursion_from_the_end(drawn: list[list[tuple[float, float]]], gamma: float, lam: float) -> None:
    expected: list[float] = []
    for index, completion in enumerate(drawn):
        after, value_after, backwards = 0.0, 0.0, []
        for place, (value, earned) in reversed(list(enumerate(completion))):
            reward = earned + (index if place == len(completion) - 1 else 0.0)  # completion i earns i
            after = reward + gamma * value_after - value + gamma * lam * after
            value_after = value
            backwards.append(after)
        expected += backwards[::-1]
    values, token_rewards = ([[pair[which] for pair in one] for one in drawn] for which in (0, 1))
    rewards = [[float(index) for index in range(len(drawn))]]
    assert raw(rewards, values, token_rewards, gamma, lam) == pytest.approx(expected, abs=1e-9)


def test_whitened_advantages_have_mean_0_and_variance_1_and_returns_do_not_change() -> None:
    given = groups([[1.0, 0.0]], values=[[0.1, 0.2, 0.3], [0.4, 0.5]], token_rewards=[[0.0] * 3, [0.0] * 2])
    white = GAE()(given).values.tolist()
    assert statistics.fmean(white) == pytest.approx(0.0, abs=1e-12)
    assert statistics.variance(white) == pytest.approx(1.0, rel=1e-6)
    assert GAE().returns(given).values.tolist() == GAE(whiten=False).returns(given).values.tolist()


def test_values_that_foresee_everything_leave_nothing() -> None:
    assert raw([[0.7]], [[0.7, 0.7]], [[0.0, 0.0]], 1.0, 0.95) == [0.0, 0.0]


@pytest.mark.parametrize("options", [{"gamma": 1.1}, {"lam": -0.1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        GAE(**options)  # type: ignore[arg-type]


def test_without_values_it_says_what_is_missing() -> None:
    with pytest.raises(RewardError, match="`values`"):
        GAE()(groups([[1.0]], token_rewards=[[0.0]]))


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "gae") is GAE
    for whiten in (True, False):
        check_advantage("gae", options={"whiten": whiten}).raise_for_failures()


def test_turns_earn_where_they_end() -> None:
    """Two turns of two and one tokens that earned 1 and 2, and .5 for the whole: deltas 0, 1, 2.5, values 0, gamma lam 1, so
    A = 3.5, 3.5, 2.5."""
    written = [Completion(ids, [-1.0] * len(ids), finished=True) for ids in ([5, 6], [7])]
    turns = [Span(ids=tuple(said.ids), sampled=said, reward=reward) for said, reward in zip(written, (1.0, 2.0), strict=True)]
    episode = Episode(spans=(Span(ids=(1,)), turns[0], Span(ids=(2,)), turns[1]), reward=0.5)
    one = Trajectory.of(Origin("main", 0, 0, 0, 0), episode, 0).with_tokens(old_value=np.zeros(5, np.float32))
    [done] = with_advantages([one], GAE(lam=1.0, whiten=False), {}, {})
    assert done.tokens["advantages"].tolist() == [0, 3.5, 3.5, 0, 2.5]
