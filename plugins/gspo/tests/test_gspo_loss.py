"""GSPO and its token form on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_gspo.loss import GSPO, GSPOToken

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective import Sequences
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def batch(moved: list[list[float]], advantages: list[float]) -> Sequences:
    """lp - lo per token, and one advantage per sequence."""
    rows = [[one] * len(row) for one, row in zip(advantages, moved, strict=True)]
    return sequences(moved, signals={logp("old"): [[0.0] * len(row) for row in moved]}, fields={"advantages": rows})


def test_one_ratio_per_sequence() -> None:
    # means .02, .3, -.3, .3; bounds .9 and 1.1: free, clipped high, clipped low, free for a negative advantage
    moved, advantages = [[0.06, -0.02], [0.3], [-0.2, -0.4], [0.3]], [1.0, 1.0, -1.0, -1.0]
    given = batch(moved, advantages)
    terms = values_of(GSPO(epsilon=0.1, epsilon_high=None)(given), "sequence")
    assert terms.tolist() == pytest.approx([-math.exp(0.02), -1.1, 0.9, math.exp(0.3)])
    [found] = torch.autograd.grad(terms.sum(), [given.logp.values])
    half = -math.exp(0.02) / 2  # -rho A / |y| for every token of a sequence
    assert found.tolist() == pytest.approx([half, half, 0, 0, 0, math.exp(0.3)])


def test_the_token_form_has_the_same_value_and_gradient_for_one_advantage() -> None:
    given = batch([[0.06, -0.02], [0.3], [-0.2, -0.4], [0.3]], [1.0, 1.0, -1.0, -1.0])
    whole = values_of(GSPO(epsilon=0.1, epsilon_high=None)(given), "sequence")
    terms = values_of(GSPOToken(epsilon=0.1, epsilon_high=None)(given), "token")
    assert terms.mean().tolist() == pytest.approx(whole.tolist())
    [one], [other] = (torch.autograd.grad(value.sum(), [given.logp.values]) for value in (whole, terms.mean()))
    assert one.tolist() == pytest.approx(other.tolist())


def test_the_token_form_gives_each_token_its_own_advantage() -> None:
    # rho = e^.02 for both tokens, inside the bounds: -rho A_t, with the gradient -rho A_t on its own token alone
    given = sequences([[0.06, -0.02]], signals={logp("old"): [[0.0, 0.0]]}, fields={"advantages": [[2.0, -3.0]]})
    terms = values_of(GSPOToken(epsilon=0.1, epsilon_high=0.1)(given), "token")
    assert terms.values.tolist() == pytest.approx([-2 * math.exp(0.02), 3 * math.exp(0.02)])
    [found] = torch.autograd.grad(terms.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([-2 * math.exp(0.02), 3 * math.exp(0.02)])


@pytest.mark.parametrize("name", ["gspo", "gspo_token"])
def test_options_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="epsilon"):
        Objective.parse([{name: {"epsilon": 1.0}}], load())


@pytest.mark.parametrize("kind", [GSPO, GSPOToken])
def test_either_bound_is_its_own(kind: type[GSPO] | type[GSPOToken]) -> None:
    # bounds .9 and 1.2: e^.3 is held at 1.2 and e^-.3 at .9, e^.15 = 1.16 and e^-.08 = .92 are free
    terms = kind(epsilon=0.1, epsilon_high=0.2)(batch([[0.3], [-0.3], [0.15], [-0.08]], [1.0, -1.0, 1.0, -1.0]))
    values = terms.values if isinstance(terms.values, torch.Tensor) else terms.values.values
    assert values.tolist() == pytest.approx([-1.2, 0.9, -math.exp(0.15), math.exp(-0.08)])
    clips = {name: terms.metrics[f"clip_ratio/{name}_mean"].values for name in ("low", "high")}
    assert {name: one.tolist() for name, one in clips.items() if isinstance(one, torch.Tensor)} == {
        "low": [0, 1, 0, 0],
        "high": [1, 0, 0, 0],
    }
