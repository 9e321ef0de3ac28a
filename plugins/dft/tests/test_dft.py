"""DFT: numbers by hand, degenerate case, the stopped gradient."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_dft.loss import DFT

from burnish.testing import sequences


def test_tokens_by_hand() -> None:
    # Probabilities .5, .2 and .8: -.5 log .5 = .3465736, -.2 log .2 = .3218876, -.8 log .8 = .1785148.
    batch = sequences([[math.log(0.5), math.log(0.2)], [math.log(0.8)]])
    assert DFT()(batch).token.values.tolist() == pytest.approx([0.3465736, 0.3218876, 0.1785148], abs=1e-7)


def test_the_gradient_is_the_probability_itself() -> None:
    # With p stopped, d(-p lp) / d lp = -p; without, it would be -p (1 + lp).
    batch = sequences([[math.log(0.5), math.log(0.2)]])
    [gradient] = torch.autograd.grad(DFT()(batch).token.sum().sum(), batch.logp.values)
    assert gradient.tolist() == pytest.approx([-0.5, -0.2])


def test_certain_and_impossible_tokens_cost_nothing() -> None:
    assert DFT()(sequences([[0.0, -1000.0]])).token.values.tolist() == [0.0, 0.0]
