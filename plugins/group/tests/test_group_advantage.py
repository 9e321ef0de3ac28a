"""Group-relative advantages on numbers worked out by hand."""

from __future__ import annotations

import pytest
from burnish_group.advantage import GroupRelative
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.registry import AdvantageRecord, load
from burnish.testing import check_advantage, groups

GROUPS = st.lists(st.lists(st.floats(-3, 3), max_size=5), min_size=1, max_size=5)


def advantages(rewards: list[list[float]], scale: str = "group") -> list[float]:
    return [float(value) for value in GroupRelative(scale=scale)(groups(rewards)).values]  # type: ignore[arg-type]


def test_the_standard_deviation_of_the_group() -> None:
    # mean 2, std sqrt((1 + 1) / 1) = 1.41421; mean 1, std sqrt((1 + 1 + 4) / 2) = 1.73205
    first, second = 1 / (2**0.5 + 1e-4), 1 / (3**0.5 + 1e-4)
    expected = [-first, first, -second, -second, 2 * second]
    assert advantages([[1.0, 3.0], [0.0, 0.0, 3.0]]) == pytest.approx(expected, rel=1e-12)


def test_the_standard_deviation_of_the_batch() -> None:
    # rewards 1, 3, 0, 0: mean 1, std sqrt((0 + 4 + 1 + 1) / 3) = sqrt(2)
    unit = 1 / (2**0.5 + 1e-4)
    assert advantages([[1.0, 3.0], [0.0, 0.0]], "batch") == pytest.approx([-unit, unit, 0.0, 0.0], rel=1e-12)


def test_no_standard_deviation() -> None:
    assert advantages([[1.0, 3.0], [0.0, 0.0, 3.0]], "none") == [-1.0, 1.0, -1.0, -1.0, 2.0]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_group_of_one_or_of_equal_rewards_gives_nothing(scale: str) -> None:
    assert advantages([[3.0], [0.1] * 7, []], scale) == [0.0] * 8
    assert advantages([[0.1] * 7, [1.0, 2.0]], scale)[:7] == [0.0] * 7


@given(GROUPS)
@settings(deadline=None, max_examples=30)
def test_groups_know_nothing_of_each_other(drawn: list[list[float]]) -> None:
    alone = [value for group in drawn for value in advantages([group])]
    assert advantages(drawn) == pytest.approx(alone, abs=1e-12)
    assert sum(advantages(drawn)) == pytest.approx(0.0, abs=1e-9)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale must be"):
        advantages([[1.0]], "std")


def test_it_is_registered_and_holds_what_every_advantage_must() -> None:
    assert load().find(AdvantageRecord, "group") is GroupRelative
    for scale in ("group", "batch", "none"):
        check_advantage("group", options={"scale": scale}).raise_for_failures()
