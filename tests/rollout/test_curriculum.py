"""Curricula: who may be played when."""

from __future__ import annotations

import pytest

from burnish.errors import DataError
from burnish.rollout.curriculum import Rising

FROM_1_TO_5 = Rising(column="terms", first=1.0, last=5.0, over=100)


@pytest.mark.parametrize(
    ("terms", "used", "may"),
    # after 25 of 100 prompts 1 + 4 x 25 / 100 = 2 is allowed, after 50 it is 3, after all of them anything
    [(1, 0, True), (2, 0, False), (2, 24, False), (2, 25, True), (3, 50, True), (4, 50, False), (5, 99, False), (9, 100, True)],
)
def test_the_limit_rises(terms: int, used: int, may: bool) -> None:
    assert FROM_1_TO_5({"terms": terms, "other": "x"}, used) is may


def test_a_row_without_the_column_is_said() -> None:
    with pytest.raises(DataError, match=r"no column 'terms'\. Did you mean 'term'"):
        FROM_1_TO_5({"term": 1}, 0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Rising(column="a", first=0.0, last=1.0, over=0)
