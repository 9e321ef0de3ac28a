"""LUSPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_luspo.loss import LUSPO

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def test_a_sequence_counts_as_much_as_it_has_tokens() -> None:
    # mean .02 over two tokens: -e^.02 at each; mean -.3 under A = -1: clipped to .9, so .9 at the one token
    given = sequences(
        [[0.06, -0.02], [-0.3]], signals={logp("old"): [[0.0, 0.0], [0.0]]}, fields={"advantages": [[1.0, 1.0], [-1.0]]}
    )
    terms = values_of(LUSPO(epsilon=0.1, epsilon_high=None)(given), "token")
    assert terms.sum().tolist() == pytest.approx([-2 * math.exp(0.02), 0.9])
    [found] = torch.autograd.grad(terms.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([-math.exp(0.02), -math.exp(0.02), 0])  # |y| rho A / |y|


def test_it_is_summed_over_tokens_and_options_out_of_range_are_refused() -> None:
    [part] = Objective.parse(["luspo"], load()).entries
    assert str(part.reduction) == "sequence_mean"
    with pytest.raises(ConfigError, match="epsilon_high"):
        Objective.parse([{"luspo": {"epsilon_high": -0.1}}], load())


def test_either_bound_is_its_own() -> None:
    # bounds .9 and 1.2: e^.3 is held at 1.2 and e^-.3 at .9, e^.15 = 1.16 and e^-.08 = .92 are free
    given = sequences(
        [[0.3], [-0.3], [0.15], [-0.08]],
        signals={logp("old"): [[0.0]] * 4},
        fields={"advantages": [[1.0], [-1.0], [1.0], [-1.0]]},
    )
    terms = LUSPO(epsilon=0.1, epsilon_high=0.2)(given)
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == pytest.approx([-1.2, 0.9, -math.exp(0.15), math.exp(-0.08)])
    clips = {name: terms.metrics[f"clip_ratio/{name}_mean"].values for name in ("low", "high")}
    assert {name: one.tolist() for name, one in clips.items() if isinstance(one, torch.Tensor)} == {
        "low": [0, 1, 0, 0],
        "high": [1, 0, 0, 0],
    }
