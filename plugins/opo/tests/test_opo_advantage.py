"""The optimal baseline on numbers worked out by hand."""

from __future__ import annotations

import pytest
from burnish_opo.advantage import OptimalBaseline
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.registry import AdvantageRecord, load
from burnish.testing import check_advantage, groups

COMPLETION = st.tuples(st.floats(-3, 3), st.integers(1, 20))
GROUPS = st.lists(st.lists(COMPLETION, min_size=1, max_size=5), min_size=1, max_size=5)


def advantages(rewards: list[list[float]], lengths: list[list[float]]) -> list[float]:
    return [float(value) for value in OptimalBaseline()(groups(rewards, lengths)).values]


def test_long_completions_count_more_in_the_baseline() -> None:
    # (10 * 1 + 30 * 0) / 40 = .25; (1 * 2 + 1 * 0 + 2 * 1) / 4 = 1
    found = advantages([[1.0, 0.0], [2.0, 0.0, 1.0]], [[10.0, 30.0], [1.0, 1.0, 2.0]])
    assert found == pytest.approx([0.75, -0.25, 1.0, -1.0, 0.0])


def test_with_equal_lengths_it_is_the_mean() -> None:
    assert advantages([[1.0, 0.0, 2.0]], [[5.0, 5.0, 5.0]]) == pytest.approx([0.0, -1.0, 1.0])


def test_a_group_of_one_or_of_equal_rewards_gives_nothing() -> None:
    assert advantages([[3.0], [0.1] * 7, []], [[4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], []]) == [0.0] * 8


@given(GROUPS)
@settings(deadline=None, max_examples=30)
def test_weighted_by_length_advantages_sum_to_nothing_in_every_group(drawn: list[list[tuple[float, int]]]) -> None:
    rewards = [[reward for reward, _ in group] for group in drawn]
    lengths = [[float(length) for _, length in group] for group in drawn]
    found = iter(advantages(rewards, lengths))
    for group in lengths:
        assert sum(length * next(found) for length in group) == pytest.approx(0.0, abs=1e-9)


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "opo") is OptimalBaseline
    check_advantage("opo").raise_for_failures()
