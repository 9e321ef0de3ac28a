"""Scores against preferences, by hand."""

from __future__ import annotations

import math

import pytest

from burnish.judging.contests import accuracy, auc, calibration, calibration_error, rank_correlation, standings


def test_a_tie_is_not_won() -> None:
    assert accuracy([1.0, -1.0, 0.0, 2.0]) == 0.5


def test_calibration_by_hand() -> None:
    # sigmoid(log 3) = .75 three times, the higher score preferred twice; sigmoid(0) = .5 once, half
    low, high = calibration([math.log(3), math.log(3), -math.log(3), 0.0])
    assert (low.low, low.high, low.count, low.said, low.found) == (0.5, 0.6, 1, 0.5, 0.5)
    assert (high.low, high.count) == pytest.approx((0.7, 3))
    assert (high.said, high.found) == pytest.approx((0.75, 2 / 3))
    assert calibration_error([low, high]) == pytest.approx(3 / 4 * (0.75 - 2 / 3))


def test_certainty_stays_in_the_last_bin() -> None:
    [one] = calibration([800.0])
    assert (one.count, one.high, one.said) == (1, 1.0, 1.0)


def test_area_and_rank_correlation() -> None:
    # Pairs good, bad: 3 > 1, 3 > 2, 2 = 2 (half), 2 > 1: 3.5 of 4
    assert auc([3.0, 2.0, 1.0, 2.0], [True, True, False, False]) == pytest.approx(3.5 / 4)
    assert auc([1.0], [True]) is None
    assert rank_correlation([1.0, 5.0, 9.0], [1, 2, 3]) == pytest.approx(1.0)
    assert rank_correlation([1.0, 5.0, 2.0], [1, 2, 3]) == pytest.approx(0.5)
    assert rank_correlation([1.0, 1.0], [1, 2]) is None


def test_ratings_say_back_the_odds_of_the_games() -> None:
    # a beats b with odds 3 in each of very many games, so strengths stand 3 : 1, and 400 log10(3) = 190.85 lie between them
    table = standings([("a", "b", math.log(3))] * 4000)
    assert [row.name for row in table] == ["a", "b"]
    assert table[0].elo - table[1].elo == pytest.approx(190.85, abs=0.2)
    assert table[0].elo + table[1].elo == pytest.approx(2000)
    assert (table[0].wins, table[0].games) == pytest.approx((3000, 4000))


def test_who_always_wins_stays_finite_and_order_does_not_matter() -> None:
    games = [("a", "b", 1000.0), ("b", "c", 1000.0), ("c", "a", -1000.0), ("d", "d", 3.0)]
    table = standings(games)
    assert [row.name for row in table] == ["a", "b", "d", "c"]
    assert all(math.isfinite(row.elo) for row in table)
    turned = standings([(other, one, -margin) for one, other, margin in reversed(games)])
    assert {row.name: row.elo for row in turned} == pytest.approx({row.name: row.elo for row in table})
    assert standings([]) == []
