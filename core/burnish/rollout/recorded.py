"""Lengths and rewards to simulate with: those of a run, or drawn. In: a journal, or a distribution. Out: groups of answers."""

from __future__ import annotations

import numpy as np

from burnish.errors import RunError
from burnish.rollout.journal import Journal
from burnish.rollout.simulation import Answer, Recorded
from burnish.rollout.trajectory import by_group

DRAWN = 512  # groups that are drawn before they repeat


def of_journal(journal: Journal, group_size: int) -> Recorded:
    """The groups of a run as they were; RunError where they are smaller than `group_size`."""
    batches = (journal.read(number) or [] for number in journal.numbers())
    groups = [
        [Answer(max(1, one.length), one.reward) for one in group if one.origin.member >= 0]
        for batch in batches
        for group in by_group(batch)
    ]
    if not groups:
        raise RunError(f"{journal.folder} has no rollouts to simulate with")
    smallest = min(map(len, groups))
    if smallest < group_size:
        raise RunError(f"the groups in {journal.folder} have {smallest} completions, and {group_size} are asked for")
    return [group[:group_size] for group in groups]


def of_distribution(mean: float, spread: float, longest: int, group_size: int, seed: int) -> Recorded:
    """Lengths of a log-normal distribution with this mean, its logarithm of standard deviation `spread`, cut at `longest`.
    Every group has a signal."""
    random = np.random.default_rng(seed)
    lengths = random.lognormal(np.log(mean) - spread**2 / 2, spread, (DRAWN, group_size)).round().clip(1, longest)
    return [[Answer(int(length), float(member)) for member, length in enumerate(group)] for group in lengths]
