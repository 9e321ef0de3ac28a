"""Leave-one-out advantages on numbers worked out by hand."""

from __future__ import annotations

import pytest
from burnish_rloo.advantage import LeaveOneOut
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.registry import AdvantageRecord, load
from burnish.testing import check_advantage, groups

GROUPS = st.lists(st.lists(st.floats(-3, 3), min_size=2, max_size=5), min_size=1, max_size=5)


def advantages(rewards: list[list[float]], normalize: bool = False) -> list[float]:
    return [float(value) for value in LeaveOneOut(normalize=normalize)(groups(rewards)).values]


def test_the_baseline_is_the_mean_of_the_others() -> None:
    # others of 1: (3 + 5) / 2 = 4; of 3: 3; of 5: 2. In the pair each is the other's baseline.
    assert advantages([[1.0, 3.0, 5.0], [2.0, 0.0]]) == pytest.approx([-3.0, 0.0, 3.0, 2.0, -2.0])


def test_normalised_over_the_batch() -> None:
    # advantages 1, -1, 2, -2: mean 0, std sqrt((1 + 1 + 4 + 4) / 3)
    std = (10 / 3) ** 0.5 + 1e-4
    assert advantages([[1.0, 0.0], [2.0, 0.0]], normalize=True) == pytest.approx([1 / std, -1 / std, 2 / std, -2 / std])


@pytest.mark.parametrize("normalize", [False, True])
def test_a_group_of_one_or_of_equal_rewards_gives_nothing(normalize: bool) -> None:
    assert advantages([[3.0], [0.1] * 7, []], normalize) == [0.0] * 8


@given(GROUPS)
@settings(deadline=None, max_examples=30)
def test_the_baseline_does_not_read_its_own_completion(drawn: list[list[float]]) -> None:
    # Moving one reward by 1 moves its own advantage by exactly 1, and no other group's at all.
    moved = [[drawn[0][0] + 1, *drawn[0][1:]], *drawn[1:]]
    before, after = advantages(drawn), advantages(moved)
    assert after[0] - before[0] == pytest.approx(1.0)
    assert after[len(drawn[0]) :] == before[len(drawn[0]) :]


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "rloo") is LeaveOneOut
    for normalize in (False, True):
        check_advantage("rloo", options={"normalize": normalize}).raise_for_failures()
