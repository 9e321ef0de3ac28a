"""AlphaPO: numbers by hand, its limit SimPO, direction of the gradient, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_alphapo.loss import AlphaPO

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: means log .5 and log .25 over two tokens each."""
    return pairs([[math.log(0.25), 0.0]], [[math.log(0.0625), 0.0]])


def test_a_pair_by_hand() -> None:
    # alpha 2: r = (1 - 1 / p^2) / 2 is -1.5 and -7.5; h = .25 * 6 - 1 = .5 and L = log(1 + e^-.5) = .4740770.
    terms = AlphaPO(beta=0.25, gamma=1.0, alpha=2.0)(batch())
    assert terms.pair.tolist() == pytest.approx([0.4740770], abs=1e-7)
    assert terms.metrics["rewards/chosen"].values.tolist() == pytest.approx([-0.375])
    assert terms.metrics["rewards/rejected"].values.tolist() == pytest.approx([-1.875])


def test_a_negative_alpha_by_hand() -> None:
    # alpha -1: r = p - 1 is -.5 and -.75; h = 2 * .25 - .5 = 0.
    assert AlphaPO(beta=2.0, gamma=0.5, alpha=-1.0)(batch()).pair.tolist() == pytest.approx([math.log(2)])


def test_alpha_zero_is_simpo() -> None:
    # h = log .5 - log .25 = log 2, so L = log(1 + 1 / 2).
    limit = AlphaPO(beta=1.0, gamma=0.0, alpha=0.0)(batch()).pair
    near = AlphaPO(beta=1.0, gamma=0.0, alpha=1e-9)(batch()).pair
    assert limit.tolist() == pytest.approx([math.log(1.5)])
    assert near.tolist() == pytest.approx(limit.tolist(), abs=1e-8)


def test_equal_means_leave_the_margin() -> None:
    same = pairs([[-1.0, -3.0]], [[-2.0]])
    assert AlphaPO(gamma=1.0)(same).pair.tolist() == pytest.approx([math.log(1 + math.e)])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch()
    chosen, rejected = torch.autograd.grad(AlphaPO()(one).pair.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("gamma", -0.1), ("label_smoothing", 0.5)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        AlphaPO(**{field: value})
