"""Optimal advantage regression on numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from burnish_a2po.loss import A2PO

from burnish.errors import ConfigError
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def test_the_implicit_reward_is_fitted_to_the_advantage() -> None:
    # r = (.5 + 1.5) = 2 and -1; beta .5: 1 and -.5; A = .25 and -1: (.75)^2 and (.5)^2
    given = sequences(
        [[-1.0, -2.0], [-3.0]], reference=[[-1.5, -3.5], [-2.0]], fields={"advantages": [[0.25, 0.25], [-1.0]]}
    )
    made = A2PO(beta=0.5)(given)
    terms = values_of(made, "sequence")
    assert terms.tolist() == pytest.approx([0.5625, 0.25])
    assert made.metrics["implicit_reward"].values.tolist() == pytest.approx([1.0, -0.5])  # type: ignore[union-attr]
    [found] = torch.autograd.grad(terms.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([0.75, 0.75, 0.5])  # 2 beta (beta r - A), for every token


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="beta"):
        Objective.parse([{"a2po": {"beta": 0}}], load())
