"""Online DPO, XPO and Nash-MD on numbers worked out by hand, and against their formulas in numpy, float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from burnish_online_dpo.loss import XPO, OnlineDPO
from burnish_online_dpo.nash import NashMD, Win

from burnish.errors import RewardError
from burnish.objective import Pairs
from burnish.testing import values_of
from burnish.testing.batches import groups, pairs, sequences

CHOSEN, REJECTED = [[-1.0, -2.0], [-0.5]], [[-1.5], [-0.25, -0.75]]
REFERENCE = [[-1.5, -2.0], [-0.75]], [[-1.0], [-1.0, -0.5]]
# r_w: .5 + 0, .25; r_l: -.5, .75 - .25 = .5; so d = 1 and -.25


def batch(**scalars: list[float]) -> Pairs:
    return pairs(CHOSEN, REJECTED, reference=REFERENCE, scalars=scalars)


def test_both_forms_of_online_dpo() -> None:
    terms = values_of(OnlineDPO(beta=0.5)(batch()), "pair")
    assert terms.tolist() == pytest.approx([math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.125))])
    terms = values_of(OnlineDPO(beta=0.5, form="ipo")(batch()), "pair")  # 1 / (2 beta) = 1, of sums
    assert terms.tolist() == pytest.approx([0.0, 1.5625])


def test_xpo_makes_the_reference_s_sample_less_likely() -> None:
    # the policy won the first pair, so the reference's is the rejected -1.5; it lost the second: the chosen -.5
    terms = XPO(beta=0.5, alpha=0.1)(batch(opponent_won=[0.0, 1.0]))
    per_pair = values_of(terms, "pair")
    expected = [math.log(1 + math.exp(-0.5)) + 0.1 * -1.5, math.log(1 + math.exp(0.125)) + 0.1 * -0.5]
    assert per_pair.tolist() == pytest.approx(expected)
    assert terms.metrics["win_rate"].values.tolist() == [1.0, 0.0]  # type: ignore[union-attr]


def test_xpo_explores_away_from_whole_answers() -> None:
    # who won is not said: the reference's are the rejected ones, -1.5 and -.25 - .75
    terms = XPO(beta=0.5, alpha=0.1, form="ipo")(batch())  # 1 / (2 beta) = 1: (1 - 1)^2 and (-.25 - 1)^2
    per_pair = values_of(terms, "pair")
    assert per_pair.tolist() == pytest.approx([0.1 * -1.5, 1.5625 + 0.1 * -1.0])
    # the reference won the first pair: its answer is -1 - 2
    terms = XPO(beta=0.5, alpha=0.1, form="ipo")(batch(opponent_won=[1.0, 0.0]))
    per_pair = values_of(terms, "pair")
    assert per_pair.tolist() == pytest.approx([0.1 * -3.0, 1.5625 + 0.1 * -1.0])


def test_nash_md_against_numpy() -> None:
    rows = [[-1.0, -2.0, -0.5], [-0.25]]
    reference = [[-1.5, -1.0, -0.5], [-1.25]]
    advantages = [[0.3] * 3, [-0.5]]
    given = sequences(rows, reference=reference, fields={"advantages": advantages})
    found = NashMD(beta=0.2)(given)
    terms = values_of(found, "sequence")
    margins: Any = found.metrics["win_margin"].values  # one number an answer, however long it is
    assert margins.tolist() == pytest.approx([0.3, -0.5])
    expected = []
    for lp, lr, a in zip(rows, reference, advantages, strict=True):
        policy, other = np.array(lp, np.float64), np.array(lr, np.float64)
        expected.append(float(-a[0] * policy.sum() + 0.2 * ((policy - other) * policy).sum()))
    assert terms.tolist() == pytest.approx(expected)
    [gradient] = torch.autograd.grad(terms.sum(), [given.logp.values])
    # d/dlp = -A + beta (lp - lr), the log-ratio detached
    assert gradient.tolist() == pytest.approx([-0.3 + 0.2 * 0.5, -0.3 - 0.2, -0.3, 0.5 + 0.2])


def test_chances_of_winning() -> None:
    seen = groups([[1.0, 0.0], [2.0], [5.0]], opponents=[[0.0], [2.0, 3.0], []])
    # sigmoid(1) - .5, sigmoid(0) - .5; (sigmoid(0) + sigmoid(-1)) / 2 - .5; no opponent
    s = 1 / (1 + math.exp(-1))
    assert Win()(seen).values.tolist() == pytest.approx([s - 0.5, 0.0, (0.5 + 1 - s) / 2 - 0.5, 0.0])
    assert Win(preference="hard")(seen).values.tolist() == pytest.approx([0.5, 0.0, (0.5 + 0.0) / 2 - 0.5, 0.0])
    with pytest.raises(RewardError, match="no completion has an opponent"):
        Win()(groups([[1.0]], opponents=[[]]))


@pytest.mark.parametrize(
    ("made", "options"),
    [(OnlineDPO, {"beta": 0.0}), (OnlineDPO, {"form": "hinge"}), (XPO, {"alpha": -1.0}), (NashMD, {"beta": -0.1})],
)
def test_options_out_of_range_are_refused(made: type, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        made(**options)
