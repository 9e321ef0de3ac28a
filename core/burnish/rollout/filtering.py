"""Groups without signal: all their rewards are equal. In: judged trajectories. Out: the same, such groups filtered.

A group with fewer than two completions that can be trained on has no signal either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from burnish.rollout.metrics import SAME
from burnish.rollout.trajectory import Trajectory, by_group


def has_signal(members: Iterable[Trajectory]) -> bool:
    """Whether the completions of one group differ in what they are worth; the greedy one, which is not trained on, apart."""
    rewards = [one.reward for one in members if one.is_trainable and one.origin.member >= 0]
    return len(rewards) > 1 and max(rewards) - min(rewards) >= SAME


def with_signal(trajectories: Iterable[Trajectory]) -> list[int]:
    """The groups that have one, in order."""
    return [members[0].origin.group for members in by_group(trajectories) if has_signal(members)]


def keep_groups(trajectories: Sequence[Trajectory], groups: Collection[int]) -> list[Trajectory]:
    """The trajectories, those of other groups filtered where they could have been trained on."""
    return [
        replace(one, outcome="filtered") if one.is_trainable and one.origin.group not in groups else one for one in trajectories
    ]
