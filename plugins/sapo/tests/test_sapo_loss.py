"""SAPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_sapo.loss import SAPO

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_soft_gate_for_each_sign() -> None:
    # rho = 2, 2, 1: L = -A 4 s(t (rho - 1)) / t with t = .5 for A > 0, 2 otherwise; d/dlp = -A 4 s (1 - s) rho
    given = sequences(
        [[math.log(2), math.log(2)], [0.0]],
        signals={logp("old"): [[0.0, 0.0], [0.0]]},
        fields={"advantages": [[3.0, -1.0], [-1.0]]},
    )
    terms = values_of(SAPO(temperature_pos=0.5, temperature_neg=2.0)(given), "token")
    high, low = sigmoid(0.5), sigmoid(2.0)
    assert terms.values.tolist() == pytest.approx([-3 * 4 * high / 0.5, 4 * low / 2, 4 * 0.5 / 2])
    [found] = torch.autograd.grad(terms.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([-3 * 4 * high * (1 - high) * 2, 4 * low * (1 - low) * 2, 1.0])


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="temperature_neg"):
        Objective.parse([{"sapo": {"temperature_neg": 0}}], load())


def test_any_positive_advantage_has_the_gate_of_positive_ones() -> None:
    given = sequences([[math.log(2)]], signals={logp("old"): [[0.0]]}, fields={"advantages": [[0.5]]})
    terms = values_of(SAPO(temperature_pos=0.5, temperature_neg=2.0)(given), "token")
    assert terms.values.tolist() == pytest.approx([-0.5 * 4 * sigmoid(0.5) / 0.5])
