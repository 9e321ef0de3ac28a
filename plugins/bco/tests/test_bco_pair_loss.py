"""BCO on pairs, on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_bco.loss import BCOPair

from burnish.errors import ConfigError
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import pairs


def test_the_formula() -> None:
    # r_w = 1, r_l = -1, beta = 2: both terms are -log sigmoid(2) = log(1 + e^-2)
    batch = pairs([[-1.0, -2.0]], [[-3.0]], reference=([[-1.5, -2.5]], [[-2.0]]))
    terms = values_of(BCOPair(beta=2.0)(batch), "pair")
    assert terms.tolist() == pytest.approx([2 * math.log1p(math.exp(-2))])
    chosen, rejected = torch.autograd.grad(terms.sum(), [batch.chosen.logp.values, batch.rejected.logp.values])
    slope = 2 / (1 + math.exp(2))  # beta * sigmoid(-beta r_w) = beta * sigmoid(beta r_l)
    assert chosen.tolist() == pytest.approx([-slope, -slope])
    assert rejected.tolist() == pytest.approx([slope])


def test_each_side_counts_on_its_own() -> None:
    """Unlike dpo, raising both sides alike is not free: only r_w - r_l stays the same."""
    low, high = (pairs([[-1.0 + up]], [[-1.0 + up]], reference=([[-1.0]], [[-1.0]])) for up in (0.0, 0.9))
    first, second = (values_of(BCOPair(beta=1.0)(one), "pair") for one in (low, high))
    assert first.tolist() == pytest.approx([2 * math.log(2)])  # policy == reference
    assert second.item() > first.item()


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="beta"):
        Objective.parse([{"bco_pair": {"beta": 0}}], load())


def test_logged_rewards_are_scaled_by_beta() -> None:
    # beta .25, r_w = 2, r_l = -2: .25 * 2 and .25 * -2
    metrics = BCOPair(beta=0.25)(pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-1.5, -2.5]], [[-2.0]]))).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.5]
