"""EXO on pairs: numbers by hand, degenerate case, direction of the gradient, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_exo.loss import EXOPair

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: r_w = 2 over two tokens, r_l = -1 over one."""
    return pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]))


def test_a_pair_by_hand() -> None:
    # h = 1.5, q = sigmoid(1.5) = .8175745, e = .1:
    # q (log q - log .9) + (1 - q) (log(1 - q) - log .1) = .8175745 * -.0960528 + .1824255 * .6011718 = .0311388.
    assert EXOPair(beta=0.5, label_smoothing=0.1)(batch()).pair.tolist() == pytest.approx([0.0311388], abs=1e-7)


def test_the_minimum_is_the_label_itself() -> None:
    # q = 1 - e where h = log((1 - e) / e); with one token a side and beta 1, r_w = h and r_l = 0.
    label = pairs([[math.log(9.0) - 5]], [[-5.0]], reference=([[-5.0]], [[-5.0]]))
    assert EXOPair(beta=1.0, label_smoothing=0.1)(label).pair.tolist() == pytest.approx([0.0], abs=1e-12)


def test_policy_equal_to_reference() -> None:
    same = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-1.0, -1.0]], [[-3.0]]))
    # -log 2 - log(.1 * .9) / 2 = -.6931472 + 1.2039728 = .5108256
    assert EXOPair(label_smoothing=0.1)(same).pair.tolist() == pytest.approx([0.5108256], abs=1e-7)


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    loss = EXOPair(beta=0.5, label_smoothing=0.1)(one).pair
    chosen, rejected = torch.autograd.grad(loss.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


def test_a_margin_column_is_subtracted_from_the_gap() -> None:
    # A margin of 1.5 eats the whole gap h = .5 * 3: what is left is the loss of policy == reference.
    wide = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]), scalars={"margin": [1.5]})
    assert EXOPair(beta=0.5, label_smoothing=0.1)(wide).pair.tolist() == pytest.approx([0.5108256])


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("label_smoothing", 0.0), ("label_smoothing", 0.5)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        EXOPair(**{field: value})


def test_logged_rewards_are_scaled_by_beta() -> None:
    # beta .25, r_w = 2, r_l = -2: .25 * 2 and .25 * -2
    wide = pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-2.0, -2.0]], [[-2.0]]))
    metrics = EXOPair(beta=0.25)(wide).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.5]
