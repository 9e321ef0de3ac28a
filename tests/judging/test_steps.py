"""Scores of solutions from their steps, and how first wrong steps were found: by hand."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from burnish.errors import RewardError
from burnish.judging.steps import FirstWrong, aggregate, check_aggregate, first_wrong, majority


def test_four_ways_to_aggregate() -> None:
    steps = [0.5, 0.25, 0.75]
    assert [aggregate(way, steps) for way in ("product", "min", "last", "mean")] == [0.09375, 0.25, 0.75, 0.5]
    with pytest.raises(RewardError, match="Did you mean 'product'"):
        check_aggregate("produkt")


def test_the_first_wrong_step() -> None:
    assert [first_wrong(steps) for steps in ([0.9, 0.4, 0.1], [0.5], [1.0, 1.0], [0.0])] == [1, None, None, 0]


def test_precision_recall_and_f1_by_hand() -> None:
    # Named in four solutions, twice the very step; three have a wrong step; of two clean ones one was left clean.
    found = FirstWrong.of([0, 2, 1, 3, None], [0, 2, None, 1, None])
    assert astuple(found) == pytest.approx((2 / 4, 2 / 3, 2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3), 1 / 2))


def test_nothing_named_and_nothing_to_find() -> None:
    assert FirstWrong.of([None], [0]) == FirstWrong(0.0, 0.0, 0.0, 0.0)
    assert FirstWrong.of([None, None], [None, None]) == FirstWrong(0.0, 0.0, 0.0, 1.0)


def test_naming_the_most_frequent_one() -> None:
    # 2 is the most frequent; named in all four, right in two, of three with a wrong step
    assert astuple(majority([2, 0, 2, None])) == pytest.approx((1 / 2, 2 / 3, 4 / 7, 0.0))
    assert majority([None]) == FirstWrong(0.0, 0.0, 0.0, 1.0)
