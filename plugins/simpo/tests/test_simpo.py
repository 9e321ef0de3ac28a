"""SimPO: numbers by hand, degenerate case, direction of the gradient, refusals, recipe."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_simpo.loss import SimPO
from burnish_simpo.recipe import simpo

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: means -1 and -3 over two tokens each."""
    return pairs([[-0.5, -1.5]], [[-2.5, -3.5]])


def test_a_pair_by_hand() -> None:
    # h = .5 * (-1 + 3) - .5 = .5 and L = log(1 + e^-.5) = .4740770
    assert SimPO(beta=0.5, gamma=0.5)(batch()).pair.tolist() == pytest.approx([0.4740770], abs=1e-7)


def test_label_smoothing_by_hand() -> None:
    # .9 * .4740770 + .1 * (.4740770 + .5) = .5240770
    assert SimPO(beta=0.5, gamma=0.5, label_smoothing=0.1)(batch()).pair.tolist() == pytest.approx([0.5240770], abs=1e-7)


def test_logged_rewards_are_means_scaled_by_beta() -> None:
    # .25 * -1 and .25 * -3
    metrics = SimPO(beta=0.25)(batch()).metrics
    assert metrics["rewards/chosen"].values.tolist() == [-0.25]
    assert metrics["rewards/rejected"].values.tolist() == [-0.75]


def test_equal_means_leave_the_margin() -> None:
    same = pairs([[-1.0, -3.0]], [[-2.0]])
    assert SimPO(gamma=1.0)(same).pair.tolist() == pytest.approx([math.log(1 + math.e)])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    chosen, rejected = torch.autograd.grad(SimPO()(one).pair.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("gamma", -0.1), ("label_smoothing", 0.5)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        SimPO(**{field: value})


def test_the_recipe_hands_its_options_to_the_loss() -> None:
    assert simpo(beta=2.5, gamma=1.4)["objective"] == [{"simpo": {"beta": 2.5, "gamma": 1.4}}]
