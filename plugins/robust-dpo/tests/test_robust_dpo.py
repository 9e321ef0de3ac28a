"""Robust DPO: numbers by hand, degenerate case, direction of the gradient, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_robust_dpo.loss import Robust

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: r_w = 2 over two tokens, r_l = -1 over one."""
    return pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]))


def test_a_pair_by_hand() -> None:
    # h = .5 * 3 = 1.5; log sigmoid(1.5) = -.2014133, log sigmoid(-1.5) = -1.7014133; e = .1:
    # (.9 * .2014133 - .1 * 1.7014133) / .8 = .0139133.
    assert Robust(beta=0.5, label_smoothing=0.1)(batch()).pair.tolist() == pytest.approx([0.0139133], abs=1e-7)


def test_flips_at_the_known_rate_cancel_in_expectation() -> None:
    # .8 of the pair as it is and .2 of it flipped: the loss of the clean pair without smoothing, log(1 + e^-1.5).
    right = Robust(beta=0.5, label_smoothing=0.2)(batch()).pair
    wrong = Robust(beta=0.5, label_smoothing=0.2)(pairs([[-3.0]], [[-1.0, -1.0]], reference=([[-2.0]], [[-2.0, -2.0]]))).pair
    assert (0.8 * right + 0.2 * wrong).tolist() == pytest.approx([math.log1p(math.exp(-1.5))])


def test_policy_equal_to_reference() -> None:
    same = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-1.0, -1.0]], [[-3.0]]))
    assert Robust(label_smoothing=0.3)(same).pair.tolist() == pytest.approx([math.log(2)])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    loss = Robust(beta=0.5, label_smoothing=0.1)(one).pair
    chosen, rejected = torch.autograd.grad(loss.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


def test_a_margin_column_is_subtracted_from_the_gap() -> None:
    # A margin of 1.5 eats the whole gap h = .5 * 3: what is left is the loss of policy == reference.
    wide = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]), scalars={"margin": [1.5]})
    assert Robust(beta=0.5, label_smoothing=0.1)(wide).pair.tolist() == pytest.approx([math.log(2)])


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("label_smoothing", -0.1), ("label_smoothing", 0.5)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Robust(**{field: value})


def test_logged_rewards_are_scaled_by_beta() -> None:
    # beta .25, r_w = 2, r_l = -2: .25 * 2 and .25 * -2
    wide = pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-2.0, -2.0]], [[-2.0]]))
    metrics = Robust(beta=0.25)(wide).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.5]
