"""Preferences out of rollouts: answers to one prompt that rewards tell apart become pairs for the losses on preferences.

In: judged trajectories. Out: units of kind `preference`. Equal rewards are no preference: such answers make no pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal

from burnish.data.units import Unit
from burnish.rollout.metrics import SAME
from burnish.rollout.trajectory import Trajectory, by_group

Pairing = Literal["best_worst", "all", "opponents"]
"""The best with the worst of a group; each with every worse one; or each of the policy's with one of its opponents'."""


def pairs_a_group(pairing: Pairing | None, group_size: int) -> int:
    """Units that a group of so many completions makes at most; without a pairing each is one."""
    if pairing == "best_worst":
        return min(1, group_size - 1)
    return group_size * (group_size - 1) // 2 if pairing == "all" else group_size


def units_of(trajectories: Iterable[Trajectory], pairing: Pairing | None) -> list[Unit]:
    """What a rollout batch is trained on: completions, or pairs of them. Opponents are trained on in pairs only."""
    whole = [one for one in trajectories if one.is_trainable]
    if pairing is None:
        return [one.unit() for one in whole if not one.is_opponent]
    return [_pair(*two, pairing) for members in by_group(whole) for two in _apart(members, pairing)]


def _apart(members: Sequence[Trajectory], pairing: Pairing) -> Iterator[tuple[Trajectory, Trajectory]]:
    """Two of a group whose rewards differ, the better one first."""
    mine = [one for one in members if not one.is_opponent]
    if pairing == "opponents":
        others = [one for one in members if one.is_opponent]
        chosen = [(one, others[place % len(others)]) for place, one in enumerate(mine)] if others else []
    elif pairing == "all":
        chosen = list(combinations(mine, 2))
    else:
        chosen = [(max(mine, key=_worth), min(mine, key=_worth))] if mine else []
    for one, other in chosen:
        if abs(one.reward - other.reward) >= SAME:
            yield (one, other) if one.reward > other.reward else (other, one)


def _pair(better: Trajectory, worse: Trajectory, pairing: Pairing) -> Unit:
    """With opponents, `opponent_won` says whose answer the better one is. What the rewards were is left out: no margin."""
    first, second = better.unit(), worse.unit()
    sides = tuple(replace(unit.sequences[0], role=role, scalars={}) for unit, role in ((first, "chosen"), (second, "rejected")))
    scalars = {"opponent_won": float(better.is_opponent)} if pairing == "opponents" else {}
    return Unit("preference", sides, first.source, scalars, first.row, first.part)


def _worth(one: Trajectory) -> float:
    return one.reward
