"""Group-filtered advantages on numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_gfpo.advantage import BestOfGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.registry import AdvantageRecord, load
from burnish.testing import check_advantage, groups

COMPLETION = st.tuples(st.floats(-3, 3), st.integers(1, 20))
GROUPS = st.lists(st.lists(COMPLETION, min_size=1, max_size=5), min_size=1, max_size=5)


def test_the_best_by_reward_per_token() -> None:
    # .1, .02, .3, 0 per token: the first and third are kept. Their rewards 1 and 3: mean 2, std sqrt(2).
    rollout = groups([[1.0, 1.0, 3.0, 0.0]], [[10.0, 50.0, 10.0, 1.0]])
    best = BestOfGroup(keep=2)
    assert best.keeps(rollout).tolist() == [True, False, True, False]
    unit = 1 / (2**0.5 + 1e-4)
    assert best(rollout).values.tolist() == pytest.approx([-unit, 0.0, unit, 0.0])


def test_the_best_by_reward_and_the_shortest() -> None:
    rollout = groups([[1.0, 1.0, 3.0, 0.0], [5.0, 4.0]], [[10.0, 50.0, 90.0, 1.0], [7.0, 6.0]])
    assert BestOfGroup(keep=1, by="reward").keeps(rollout).tolist() == [False, False, True, False, True, False]
    assert BestOfGroup(keep=1, by="length").keeps(rollout).tolist() == [False, False, False, True, False, True]


def test_a_tie_for_the_last_place_keeps_all_that_tie() -> None:
    rollout = groups([[2.0, 1.0, 1.0, 0.0]])
    assert BestOfGroup(keep=2, by="reward").keeps(rollout).tolist() == [True, True, True, False]


def test_groups_that_are_small_or_say_nothing() -> None:
    rollout = groups([[3.0], [], [0.1] * 7, [1.0, 2.0]])
    best = BestOfGroup(keep=4, by="reward")
    assert best.keeps(rollout).tolist() == [True] * 10
    assert best(rollout).values.tolist()[:8] == [0.0] * 8
    # Kept rewards are equal though the group's are not.
    assert BestOfGroup(keep=2, by="reward")(groups([[1.0, 1.0, 0.0]])).values.tolist() == [0.0] * 3


@given(GROUPS, st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_groups_know_nothing_of_each_other(drawn: list[list[tuple[float, int]]], keep: int) -> None:
    def rollout(some: list[list[tuple[float, int]]]) -> Any:
        return groups([[reward for reward, _ in group] for group in some], [[float(n) for _, n in group] for group in some])

    best = BestOfGroup(keep=keep)
    alone = [value for group in drawn for value in best(rollout([group])).values.tolist()]
    assert best(rollout(drawn)).values.tolist() == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("options", [{"keep": 0}, {"by": "speed"}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        BestOfGroup(**options)


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "gfpo") is BestOfGroup
    for by in ("reward_per_token", "reward", "length"):
        check_advantage("gfpo", options={"keep": 2, "by": by}).raise_for_failures()
