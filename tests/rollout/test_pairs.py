"""Pairs of completions that rewards tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from played import trajectory

from burnish.data.units import Unit
from burnish.rollout.pairs import Pairing, pairs_a_group, units_of
from burnish.rollout.play import OPPONENT
from burnish.rollout.trajectory import Trajectory


def worth(group: int, member: int, reward: float) -> Trajectory:
    """Its ids say which one it is."""
    return replace(trajectory(group, member, [10 * group + abs(member), 3]), reward=reward, rewards={"a": reward})


def sides(units: Sequence[Unit]) -> list[tuple[int, int]]:
    assert all(unit.kind == "preference" for unit in units)
    return [(int(unit.sequence("chosen").ids[2]), int(unit.sequence("rejected").ids[2])) for unit in units]


ROLLOUT = [
    *(worth(1, member, reward) for member, reward in enumerate([0.5, 2.0, 1.0])),
    *(worth(2, member, reward) for member, reward in enumerate([1.0, 1.0])),
    replace(worth(3, 0, 5.0), outcome="timeout"),
    worth(3, 1, 1.0),
]


@pytest.mark.parametrize(("pairing", "expected"), [("best_worst", [(11, 10)]), ("all", [(11, 10), (12, 10), (11, 12)])])
def test_who_is_paired(pairing: Pairing, expected: list[tuple[int, int]]) -> None:
    """Equal rewards make no pair, and neither does a completion whose others failed."""
    units = units_of(ROLLOUT, pairing)
    assert sides(units) == expected
    assert units[0].scalars == units[0].sequence("chosen").scalars == {}  # losses would take a margin for one that is asked for
    assert units[0].sequence("chosen").masks["completion"].tolist() == [False, False, True, True]


def test_opponents_are_paired_with_the_policy_s_and_trained_on_in_no_other_way() -> None:
    beside = [worth(1, OPPONENT, 1.0), worth(1, OPPONENT - 1, 1.0)]
    everything = [*ROLLOUT[:3], *beside]
    # members 0, 1, 2 against opponents -3, -2, -3 (in the order of members): .5 loses, 2 wins, 1 and 1 are equal
    units = units_of(everything, "opponents")
    assert sides(units) == [(13, 10), (11, 12)]
    assert [unit.scalars["opponent_won"] for unit in units] == [1.0, 0.0]
    assert len(units_of(everything, None)) == 3
    assert sides(units_of(everything, "best_worst")) == [(11, 10)]


@pytest.mark.parametrize(("pairing", "count"), [(None, 4), ("best_worst", 1), ("all", 6), ("opponents", 4)])
def test_how_many_at_most(pairing: Pairing | None, count: int) -> None:
    assert pairs_a_group(pairing, 4) == count
