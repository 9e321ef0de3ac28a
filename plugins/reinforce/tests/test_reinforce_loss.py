"""REINFORCE on numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from burnish_reinforce.loss import Reinforce

from burnish.testing import values_of
from burnish.testing.batches import sequences


def test_log_probability_times_advantage() -> None:
    given = sequences([[-1.0, -2.0], [-3.0]], fields={"advantages": [[2.0, -1.0], [0.5]]})
    terms = values_of(Reinforce()(given), "token")
    assert terms.values.tolist() == pytest.approx([2.0, -2.0, 1.5])
    [found] = torch.autograd.grad(terms.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([-2.0, 1.0, -0.5])
