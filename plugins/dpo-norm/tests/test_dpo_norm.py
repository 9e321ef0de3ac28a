"""Length-normalised DPO: numbers by hand, degenerate case, direction of the gradient, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_dpo_norm.loss import DPONorm

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: r_w = 2 and r_l = -1, both over two tokens."""
    return pairs([[-1.0, -1.0]], [[-2.5, -2.5]], reference=([[-2.0, -2.0]], [[-2.0, -2.0]]))


def test_a_pair_by_hand() -> None:
    # r_w / 2 = 1 and r_l / 2 = -.5, so h = .5 * 1.5 = .75 and L = log(1 + e^-.75) = .3868710.
    assert DPONorm(beta=0.5)(batch()).pair.tolist() == pytest.approx([0.3868710], abs=1e-7)


def test_each_side_has_its_own_length() -> None:
    # r_w = 2 over two tokens, r_l = -1 over one: h = .5 * 2 = 1 and L = log(1 + e^-1) = .3132617; an empty answer is worth 0.
    sides = pairs([[-1.0, -1.0], [-1.0]], [[-3.0], []], reference=([[-2.0, -2.0], [-3.0]], [[-2.0], []]))
    assert DPONorm(beta=0.5)(sides).pair.tolist() == pytest.approx([0.3132617] * 2, abs=1e-7)


def test_a_margin_column_is_subtracted() -> None:
    wide = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]), scalars={"margin": [1.0]})
    assert DPONorm(beta=0.5)(wide).pair.tolist() == pytest.approx([math.log(2)])


def test_policy_equal_to_reference() -> None:
    same = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-1.0, -1.0]], [[-3.0]]))
    assert DPONorm()(same).pair.tolist() == pytest.approx([math.log(2)])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    loss = DPONorm(beta=0.5)(one).pair
    chosen, rejected = torch.autograd.grad(loss.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("beta", -1.0)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        DPONorm(**{field: value})


def test_logged_rewards_are_scaled_by_beta() -> None:
    # beta .25, r_w = 2, r_l = -2: .25 * 2 and .25 * -2
    wide = pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-2.0, -2.0]], [[-2.0]]))
    metrics = DPONorm(beta=0.25)(wide).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.5]
