"""Steps that were judged: one number for a solution, and how well its first wrong step was found.

In: probabilities that steps are right, labels. Out: numbers. Knows no model and no text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from burnish.errors import RewardError, did_you_mean

Aggregate = Literal["product", "min", "last", "mean"]
AGGREGATES: dict[Aggregate, Callable[[Sequence[float]], float]] = {
    "product": math.prod,
    "min": min,
    "last": lambda steps: steps[-1],
    "mean": lambda steps: sum(steps) / len(steps),
}
"""How the probabilities of a solution's steps become its score: that all steps are right (if they were independent), that the
weakest is, that the last is, and their average."""


def check_aggregate(name: str) -> Aggregate:
    """The way called `name`; RewardError when there is none."""
    if name not in AGGREGATES:
        raise RewardError(f"no way to aggregate steps is called '{name}'. {did_you_mean(name, AGGREGATES)}")
    return name


def aggregate(way: Aggregate, steps: Sequence[float]) -> float:
    """The score of a solution with these steps, at least one."""
    return AGGREGATES[way](steps)


def first_wrong(steps: Sequence[float]) -> int | None:
    """Place of the first step below one half, from 0; None when there is none. Of probabilities and of labels alike."""
    return next((place for place, number in enumerate(steps) if number < 0.5), None)


@dataclass(frozen=True)
class FirstWrong:
    """How first wrong steps were found. A solution counts as found when the step named is the very one.

    precision: share of found ones among the solutions in which a step was named; recall: among those that have a wrong step;
    f1: their harmonic mean. right: share of solutions without a wrong step in which none was named. Nothing named or nothing to
    find gives 0.
    """

    precision: float
    recall: float
    f1: float
    right: float

    @classmethod
    def of(cls, named: Sequence[int | None], true: Sequence[int | None]) -> FirstWrong:
        """From the step that was named and the one that is wrong, for each solution."""
        pairs = list(zip(named, true, strict=True))
        hits = sum(one == other for one, other in pairs if other is not None)
        precision = _share(hits, sum(one is not None for one, _ in pairs))
        recall = _share(hits, sum(other is not None for _, other in pairs))
        clean = [one for one, other in pairs if other is None]
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        return cls(precision, recall, f1, _share(sum(one is None for one in clean), len(clean)))


def majority(true: Sequence[int | None]) -> FirstWrong:
    """What naming the most frequent first wrong step in every solution would be worth."""
    counts = Counter(place for place in true if place is not None)
    most = min(counts, key=lambda place: (-counts[place], place)) if counts else None
    return FirstWrong.of([most] * len(true), true)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
