"""ORPO: numbers by hand, degenerate cases, direction of the gradient, recipe."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_orpo.loss import ORPO
from burnish_orpo.recipe import orpo

from burnish.testing import pairs


def test_a_pair_by_hand() -> None:
    # p_w = .5 as the geometric mean of .25 and 1: odds 1. p_l = .2 likewise: odds 1 / 4. L = log(1 + 1 / 4) = .2231436.
    batch = pairs([[math.log(0.25), 0.0]], [[math.log(0.04), 0.0]])
    terms = ORPO()(batch)
    assert terms.pair.tolist() == pytest.approx([0.2231436], abs=1e-7)
    names = ("log_odds_chosen", "log_odds_ratio", "rewards/chosen", "rewards/rejected")
    logged = {name: terms.metrics[name].values.tolist() for name in names}
    assert logged["log_odds_chosen"] == pytest.approx([math.log(4)])
    assert logged["log_odds_ratio"] == pytest.approx([-math.log(1.25)])
    assert logged["rewards/chosen"] == pytest.approx([math.log(0.5)])
    assert logged["rewards/rejected"] == pytest.approx([math.log(0.2)])


def test_equal_means_give_log_two() -> None:
    assert ORPO()(pairs([[-1.0, -3.0]], [[-2.0]])).pair.tolist() == pytest.approx([math.log(2)])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    batch = pairs([[-0.5, -1.5]], [[-3.0]])
    chosen, rejected = torch.autograd.grad(ORPO()(batch).pair.sum(), (batch.chosen.logp.values, batch.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


def test_certain_answers_stay_finite() -> None:
    # p = 1 has no odds; they are held at 1e6 : 1, so a certain rejected answer costs log(1e6) = 13.8 more than odds of 1.
    batch = pairs([[math.log(0.5)], [0.0]], [[0.0], [-1000.0]])
    loss = ORPO()(batch).pair
    assert loss.tolist() == pytest.approx([math.log(1e6), 0.0], abs=1e-5)
    gradients = torch.autograd.grad(loss.sum(), (batch.chosen.logp.values, batch.rejected.logp.values))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_recipe_learns_prompt_and_answer_too() -> None:
    assert orpo(beta=0.2)["objective"] == [{"sft": {"on": "chosen", "targets": "all"}}, {"orpo": {"weight": 0.2}}]
