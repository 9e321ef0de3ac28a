"""BCO on single answers: the shift and the loss by hand, degenerate case, direction of the gradient, refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from burnish_bco.loss import BCO

from burnish.objective import Sequences
from burnish.testing import sequences


def batch(m: float | None = None) -> Sequences:
    """A good answer with r = 2 over two tokens, a bad one with r = -1 over one."""
    return sequences(
        [[-1.0, -1.0], [-3.0]],
        reference=[[-2.0, -2.0], [-2.0]],
        scalars={"label": [1.0, 0.0]},
        statistic=None if m is None else {"m": torch.tensor(m, dtype=torch.float64)},
    )


def test_two_answers_by_hand() -> None:
    # beta .5, m .25: h = 1 - .25 = .75 and -.5 - .25 = -.75, so both cost log(1 + e^-.75) = .3868710
    terms = BCO(beta=0.5)(batch(0.25))
    assert terms.sequence.tolist() == pytest.approx([0.3868710] * 2, abs=1e-7)
    assert terms.metrics["delta"].values.tolist() == [0.25, 0.25]
    assert terms.metrics["rewards/chosen"].values.tolist() == [1.0, -0.5]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, [0.25, 2]),  # (.5 * 2 - .5 * 1) / 2
        ([1.0, 8], [0.85, 10]),  # (8 * 1 + 1 - .5) / 10
    ],
)
def test_the_shift_is_the_mean_of_all_rewards_so_far(state: Any, expected: list[float]) -> None:
    with torch.no_grad():
        found, after = BCO(beta=0.5).statistic(batch(), state)
    assert found["m"].item() == pytest.approx(expected[0])
    assert after == pytest.approx(expected)
    assert json.loads(json.dumps(after)) == after


def test_policy_equal_to_reference() -> None:
    same = sequences(
        [[-1.0], [-3.0]],
        reference=[[-1.0], [-3.0]],
        scalars={"label": [1.0, 0.0]},
        statistic={"m": torch.tensor(0.0, dtype=torch.float64)},
    )
    assert BCO()(same).sequence.tolist() == pytest.approx([math.log(2)] * 2)


def test_the_gradient_raises_good_and_lowers_bad_answers() -> None:
    one = batch(0.25)
    [gradient] = torch.autograd.grad(BCO()(one).sequence.sum(), one.logp.values)
    assert gradient.sign().tolist() == [-1.0, -1.0, 1.0]


def test_refuses_a_beta_of_zero() -> None:
    with pytest.raises(ValueError, match="beta"):
        BCO(beta=0.0)
