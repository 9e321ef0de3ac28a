"""APO: numbers by hand, degenerate cases, direction of the gradients, refusals."""

from __future__ import annotations

import pytest
import torch
from burnish_apo.loss import APODown, APOZero, APOZeroUnpaired

from burnish.objective import Pairs
from burnish.testing import pairs, sequences


def batch() -> Pairs:
    """One pair: r_w = 2 over two tokens, r_l = -1 over one."""
    return pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-2.0, -2.0]], [[-2.0]]))


def test_zero_by_hand() -> None:
    # 1 - sigmoid(1) + sigmoid(-.5) = .2689414 + .3775407
    assert APOZero(beta=0.5)(batch()).pair.tolist() == pytest.approx([0.6464821], abs=1e-7)


def test_down_by_hand() -> None:
    # sigmoid(1) + 1 - sigmoid(1.5) = .7310586 + .1824255
    assert APODown(beta=0.5)(batch()).pair.tolist() == pytest.approx([0.9134841], abs=1e-7)


@pytest.mark.parametrize("loss", [APOZero(beta=0.25), APODown(beta=0.25)])
def test_logged_rewards_are_scaled_by_beta(loss: APOZero | APODown) -> None:
    # .25 * 2 and .25 * -1
    metrics = loss(batch()).metrics
    assert metrics["rewards/chosen"].values.tolist() == [0.5]
    assert metrics["rewards/rejected"].values.tolist() == [-0.25]


def test_zero_unpaired_by_hand() -> None:
    # good with r = 2: 1 - sigmoid(1) = .2689414; bad with r = -1, weight 2: 2 sigmoid(-.5) = .7550813
    batch = sequences([[-1.0, -1.0], [-3.0]], reference=[[-2.0, -2.0], [-2.0]], scalars={"label": [1.0, 0.0]})
    terms = APOZeroUnpaired(beta=0.5, undesirable_weight=2.0)(batch)
    assert terms.metrics["rewards/chosen"].values.tolist() == [1.0, -0.5]
    assert terms.metrics["rewards/chosen"].weights.tolist() == [1.0, 0.0]
    assert terms.sequence.tolist() == pytest.approx([0.2689414, 0.7550813], abs=1e-7)
    [gradient] = torch.autograd.grad(terms.sequence.sum(), batch.logp.values)
    assert gradient.sign().tolist() == [-1.0, -1.0, 1.0]


def test_the_unpaired_halves_add_up_to_the_pair() -> None:
    halves = sequences([[-1.0, -1.0], [-3.0]], reference=[[-2.0, -2.0], [-2.0]], scalars={"label": [1.0, 0.0]})
    assert APOZeroUnpaired()(halves).sequence.sum().item() == pytest.approx(APOZero()(batch()).pair.item())


def test_policy_equal_to_reference() -> None:
    same = pairs([[-1.0, -1.0]], [[-3.0]], reference=([[-1.0, -1.0]], [[-3.0]]))
    assert APOZero()(same).pair.tolist() == [1.0]
    assert APODown()(same).pair.tolist() == [1.0]
    single = sequences([[-1.0], [-3.0]], reference=[[-1.0], [-3.0]], scalars={"label": [1.0, 0.0]})
    assert APOZeroUnpaired(desirable_weight=3.0)(single).sequence.tolist() == [1.5, 0.5]


def test_zero_raises_the_chosen_and_down_lowers_both_answers() -> None:
    for loss, chosen_falls in ((APOZero(), False), (APODown(), True)):
        # Where the rejected answer is far below already, only the anchor of the chosen one is left in `down`.
        far = pairs([[-1.0]], [[-300.0]], reference=([[-1.0]], [[-1.0]]))
        chosen, rejected = torch.autograd.grad(
            loss(far).pair.sum(), (far.chosen.logp.values, far.rejected.logp.values), allow_unused=True
        )
        assert (chosen.item() > 0) == chosen_falls
        assert rejected.item() > 0


@pytest.mark.parametrize("loss", [APOZero, APODown, APOZeroUnpaired])
def test_refuses_a_beta_of_zero(loss: type) -> None:
    with pytest.raises(ValueError, match="beta"):
        loss(beta=0.0)


def test_refuses_a_negative_weight() -> None:
    with pytest.raises(ValueError, match="weights"):
        APOZeroUnpaired(undesirable_weight=-1.0)
