"""Plackett-Luce: rankings by hand, degenerate cases, metrics, gradient, refusal."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_plackett_luce.loss import PlackettLuce

from burnish.objective import Lists
from burnish.testing import lists


def of_rewards(*rewards: list[float]) -> Lists:
    """Lists whose items have these rewards, on one token each."""
    return lists([[[reward] for reward in one] for one in rewards], reference=[[[0.0] for _ in one] for one in rewards])


def test_rankings_by_hand() -> None:
    # e^(beta r) = 4, 2, 1: (4 / 7) (2 / 3), so L = log(21 / 8); and 1, 3: 1 / 4, so L = log 4.
    batch = of_rewards([2 * math.log(4), 2 * math.log(2), 0.0], [0.0, 2 * math.log(3)])
    assert PlackettLuce(beta=0.5)(batch).list.tolist() == pytest.approx([math.log(21 / 8), math.log(4)])


def test_two_items_are_a_pair() -> None:
    # beta (r_0 - r_1) = 1.5, as in DPO: log(1 + e^-1.5)
    terms = PlackettLuce(beta=0.5)(of_rewards([2.0, -1.0]))
    assert terms.list.tolist() == pytest.approx([math.log1p(math.exp(-1.5))])


def test_policy_equal_to_reference_knows_no_ranking() -> None:
    losses = PlackettLuce()(of_rewards([0.0], [0.0] * 2, [0.0] * 4)).list
    assert losses.tolist() == pytest.approx([0.0, math.log(2), math.log(24)])


def test_an_empty_batch_has_no_terms() -> None:
    assert PlackettLuce()(of_rewards()).list.tolist() == []


def test_metrics_are_of_every_two_items() -> None:
    metrics = PlackettLuce(beta=1.0)(of_rewards([3.0, 1.0, 2.0], [5.0])).metrics
    assert metrics["rewards/margins"].values.tolist() == [2.0, 1.0, -1.0]
    assert metrics["rewards/accuracies"].values.tolist() == [1.0, 1.0, 0.0]
    assert metrics["rewards/chosen"].weights.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert metrics["rewards/rejected"].weights.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_the_gradient_raises_the_best_and_lowers_the_worst_item() -> None:
    batch = of_rewards([0.3, -0.2, 0.1])
    [gradient] = torch.autograd.grad(PlackettLuce()(batch).list.sum(), batch.items.logp.values)
    assert gradient[0] < 0 < gradient[2]
    assert gradient.sum().item() == pytest.approx(0.0, abs=1e-12)


def test_refuses_a_beta_of_zero() -> None:
    with pytest.raises(ValueError, match="beta"):
        PlackettLuce(beta=0.0)
