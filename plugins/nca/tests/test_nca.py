"""NCA on pairs: numbers by hand, degenerate case, direction of the gradient, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_nca.loss import NCAPair

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: r_w = 2 over two tokens, r_l = -1 over one."""
    return pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]))


def test_a_pair_by_hand() -> None:
    # beta r_w = 1, beta r_l = -.5: -log sigmoid(1) - .5 log sigmoid(-1) - .5 log sigmoid(.5)
    # = .3132617 + .5 * 1.3132617 + .5 * .4740770 = 1.2069310.
    assert NCAPair(beta=0.5)(batch()).pair.tolist() == pytest.approx([1.2069310], abs=1e-7)


def test_the_chosen_reward_rests_at_log_two() -> None:
    at = pairs([[math.log(2.0) - 5]], [[-5.0]], reference=([[-5.0]], [[-5.0]]))
    loss = NCAPair(beta=1.0)(at).pair
    [gradient] = torch.autograd.grad(loss.sum(), at.chosen.logp.values)
    assert gradient.tolist() == pytest.approx([0.0], abs=1e-12)


def test_policy_equal_to_reference() -> None:
    same = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-1.0, -1.0]], [[-3.0]]))
    assert NCAPair()(same).pair.tolist() == pytest.approx([2 * math.log(2)])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    loss = NCAPair(beta=0.1)(one).pair
    chosen, rejected = torch.autograd.grad(loss.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("beta", -1.0)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        NCAPair(**{field: value})


def test_logged_rewards_are_scaled_by_beta() -> None:
    # beta .25, r_w = 2, r_l = -2: .25 * 2 and .25 * -2
    wide = pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-2.0, -2.0]], [[-2.0]]))
    metrics = NCAPair(beta=0.25)(wide).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.5]
