"""AOT: batches by hand, degenerate cases, independence of order, gradients across pairs, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from burnish_aot.loss import AOT, AOTUnpaired, at_rank_of

from burnish.objective import Pairs
from burnish.testing import pairs

Numbers = list[list[float]]
POLICY: tuple[Numbers, Numbers] = ([[-1.0], [-4.0]], [[-5.0], [-4.0]])
REFERENCE: tuple[Numbers, Numbers] = ([[-3.0], [-1.0]], [[-4.0], [-7.0]])


def batch(order: tuple[int, int] = (0, 1)) -> Pairs:
    """Two pairs: gaps g = 4 and 0 of the policy, f = 1 and 6 of the reference; rewards r_w = 2 and -3, r_l = -1 and 3."""
    policy, reference = ([[side[row] for row in order] for side in sides] for sides in (POLICY, REFERENCE))
    return pairs(policy[0], policy[1], reference=(reference[0], reference[1]))


def logistic(h: float) -> float:
    return math.log1p(math.exp(-h))


def test_two_pairs_by_hand() -> None:
    # Sorted, g is 0, 4 and f is 1, 6: h = .5 * (4 - 6) = -1 at the pair whose gap is 4, and .5 * (0 - 1) at the other one.
    assert AOT(beta=0.5)(batch()).pair.tolist() == pytest.approx([logistic(-1), logistic(-0.5)])


def test_two_pairs_unpaired_by_hand() -> None:
    # Sorted, r_w is -3, 2 and r_l is -1, 3: h = .5 * (2 - 3) where r_w = 2, and .5 * (-3 + 1) = -1 at the other one.
    assert AOTUnpaired(beta=0.5)(batch()).pair.tolist() == pytest.approx([logistic(-0.5), logistic(-1)])


def test_label_smoothing_by_hand() -> None:
    # e = .1: .9 log(1 + e^1) + .1 log(1 + e^-1)
    assert AOT(beta=0.5, label_smoothing=0.1)(batch()).pair[0].item() == pytest.approx(0.9 * logistic(-1) + 0.1 * logistic(1))


@pytest.mark.parametrize("loss", [AOT(beta=0.25), AOTUnpaired(beta=0.25)])
def test_logged_rewards_are_scaled_by_beta(loss: Any) -> None:
    metrics = loss(batch()).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5, -0.75]
    assert metrics["rewards/rejected"].values.tolist() == [-0.25, 0.75]


def test_length_desensitising_by_hand() -> None:
    # The chosen answer's second token counts half: g = -1 - .5 - (-4) = 2.5 and f = -2 - 1 - (-2) = -1; one pair is DPO.
    one = pairs([[-1.0, -1.0]], [[-4.0]], reference=([[-2.0, -2.0]], [[-2.0]]))
    assert AOT(beta=1.0, ld_alpha=0.5)(one).pair.tolist() == pytest.approx([logistic(3.5)])


@pytest.mark.parametrize("loss", [AOT(), AOTUnpaired()])
def test_terms_follow_their_pairs_into_another_order(loss: Any) -> None:
    assert loss(batch((1, 0))).pair.tolist() == loss(batch()).pair.flip(0).tolist()


def test_the_gradient_reaches_the_rejected_answer_of_the_same_rank() -> None:
    # The first pair's r_w = 2 is the largest, and so is the second pair's r_l = 3: that one is pushed down by the first term,
    # with beta sigmoid(-h) = .5 sigmoid(.5) = .3112297.
    one = batch()
    loss = AOTUnpaired(beta=0.5)(one).pair
    [chosen] = torch.autograd.grad(loss[0], one.chosen.logp.values, retain_graph=True)
    [rejected] = torch.autograd.grad(loss[0], one.rejected.logp.values)
    assert chosen.tolist() == pytest.approx([-0.3112297, 0.0])
    assert rejected.tolist() == pytest.approx([0.0, 0.3112297])


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answers() -> None:
    one = batch()
    chosen, rejected = torch.autograd.grad(AOT()(one).pair.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize("loss", [AOT(), AOTUnpaired()])
def test_policy_equal_to_reference(loss: Any) -> None:
    same = pairs([[-1.0], [-4.0]], [[-5.0], [-2.0]], reference=([[-1.0], [-4.0]], [[-5.0], [-2.0]]))
    assert loss(same).pair.tolist() == pytest.approx([math.log(2)] * 2)


def test_reshuffled_gaps_cannot_be_told_from_the_reference() -> None:
    reshuffled = pairs([[-1.0], [-4.0]], [[-5.0], [-5.0]], reference=([[-4.0], [-1.0]], [[-5.0], [-5.0]]))
    assert AOT()(reshuffled).pair.tolist() == pytest.approx([math.log(2)] * 2)


def test_ties_share_a_rank_in_their_order() -> None:
    assert at_rank_of(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([5.0, 9.0, 7.0])).tolist() == [7.0, 5.0, 9.0]


@pytest.mark.parametrize("loss", [AOT, AOTUnpaired])
@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("label_smoothing", 0.5)])
def test_refuses_values_out_of_range(loss: type, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        loss(**{field: value})


def test_length_desensitising_is_refused_out_of_range() -> None:
    with pytest.raises(ValueError, match="ld_alpha"):
        AOT(ld_alpha=1.5)
