"""SPPO on pairs: numbers by hand, degenerate case, direction of the gradient, refusals."""

from __future__ import annotations

import pytest
import torch
from burnish_sppo.loss import SPPOHard

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: r_w = 2 over two tokens, r_l = -1 over one."""
    return pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]))


def test_a_pair_by_hand() -> None:
    # beta .25 asks for rewards 2 and -2: (2 - 2)^2 + (-1 + 2)^2 = 1.
    assert SPPOHard(beta=0.25)(batch()).pair.tolist() == pytest.approx([1.0])


def test_policy_equal_to_reference() -> None:
    same = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-1.0, -1.0]], [[-3.0]]))
    # 1 / (2 * .1^2) = 50
    assert SPPOHard(beta=0.1)(same).pair.tolist() == pytest.approx([50.0])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    loss = SPPOHard(beta=0.1)(one).pair
    chosen, rejected = torch.autograd.grad(loss.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("beta", -1.0)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        SPPOHard(**{field: value})


def test_logged_rewards_are_scaled_by_beta() -> None:
    # beta .25, r_w = 2, r_l = -2: .25 * 2 and .25 * -2
    wide = pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-2.0, -2.0]], [[-2.0]]))
    metrics = SPPOHard(beta=0.25)(wide).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.5]
