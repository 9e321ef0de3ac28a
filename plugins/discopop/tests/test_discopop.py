"""DiscoPOP: numbers by hand, degenerate case, direction of the gradient, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_discopop.loss import DiscoPOP

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: r_w = 2 over two tokens, r_l = -1 over one."""
    return pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]))


def test_a_pair_by_hand() -> None:
    # h = 1.5, m = sigmoid(1.5 / .5) = .9525741: .0474259 * .2014133 + .9525741 * .2231302 = .0095522 + .2125480 = .2221002.
    assert DiscoPOP(beta=0.5, tau=0.5)(batch()).pair.tolist() == pytest.approx([0.2221002], abs=1e-7)


def test_a_pair_that_is_very_wrong_stays_finite() -> None:
    # h = -1000, where e^-h overflows: m = sigmoid(-20000) = 0, so L = 1000 and each log-probability weighs beta.
    wrong = pairs([[-2000.0]], [[-1.0]], reference=([[-1000.0]], [[-1001.0]]))
    loss = DiscoPOP(beta=0.5)(wrong).pair
    assert loss.tolist() == pytest.approx([1000.0])
    [gradient] = torch.autograd.grad(loss.sum(), wrong.chosen.logp.values)
    assert gradient.tolist() == pytest.approx([-0.5])


def test_policy_equal_to_reference() -> None:
    same = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-1.0, -1.0]], [[-3.0]]))
    assert DiscoPOP()(same).pair.tolist() == pytest.approx([(1 + math.log(2)) / 2])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    loss = DiscoPOP(beta=0.5)(one).pair
    chosen, rejected = torch.autograd.grad(loss.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


def test_a_margin_column_is_subtracted_from_the_gap() -> None:
    # A margin of 1.5 eats the whole gap h = .5 * 3: what is left is the loss of policy == reference.
    wide = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]), scalars={"margin": [1.5]})
    assert DiscoPOP(beta=0.5)(wide).pair.tolist() == pytest.approx([(1 + math.log(2)) / 2])


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("tau", 0.0), ("tau", 1.5)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        DiscoPOP(**{field: value})


def test_logged_rewards_are_scaled_by_beta() -> None:
    # beta .25, r_w = 2, r_l = -2: .25 * 2 and .25 * -2
    wide = pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-2.0, -2.0]], [[-2.0]]))
    metrics = DiscoPOP(beta=0.25)(wide).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.5]
