"""Advantages under the best policy, on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from burnish_a2po.advantage import Optimal

from burnish.errors import RewardError
from burnish.testing import check_advantage, groups


def test_the_value_is_a_soft_maximum_of_the_reference_s_rewards() -> None:
    seen = groups([[1.0, 0.0], [2.0], [1.0], [1.0]], opponents=[[0.0, 1.0], [0.5, 0.5], [0.0, 0.0], []])
    # .5 log((1 + e^2) / 2); .5; 0; none
    soft = 0.5 * math.log((1 + math.exp(2)) / 2)
    assert Optimal()(seen).values.tolist() == pytest.approx([1 - soft, -soft, 1.5, 1.0, 0.0])
    assert Optimal().keeps(seen).tolist() == [True, True, True, False, False]
    assert Optimal(wrong=0.5).keeps(seen).tolist() == [True, True, False, False, False]
    # near 0 the value is the best sample's reward
    assert Optimal(beta=1e-3)(seen).values.tolist()[:2] == pytest.approx([0.0, -1.0], abs=1e-2)


def test_without_opponents_it_says_what_to_write() -> None:
    with pytest.raises(RewardError, match=r"rollout\.opponents"):
        Optimal()(groups([[1.0]], opponents=[[]]))


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"wrong": math.inf}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Optimal(**options)


def test_conforms() -> None:
    check_advantage("a2po").raise_for_failures()
