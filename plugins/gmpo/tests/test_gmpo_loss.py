"""GMPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_gmpo.loss import GMPO

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def test_each_token_clips_on_its_side_then_the_mean_is_taken() -> None:
    # A = 2: log-ratios .6 -> .4 and -.6 stay: mean -.1. A = -1: .6 stays and -.6 -> -.4: mean .1
    given = sequences(
        [[0.6, -0.6], [0.6, -0.6]], signals={logp("old"): [[0.0, 0.0]] * 2}, fields={"advantages": [[2.0, 2.0], [-1.0, -1.0]]}
    )
    terms = GMPO()(given)
    per_sequence = values_of(terms, "sequence")
    assert per_sequence.tolist() == pytest.approx([-2 * math.exp(-0.1), math.exp(0.1)])
    [found] = torch.autograd.grad(per_sequence.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([0, -math.exp(-0.1), math.exp(0.1) / 2, 0])  # -A rho / |y|, 0 where clipped
    assert terms.metrics["clip_ratio/high_mean"].values.values.tolist() == [1, 0, 0, 0]  # type: ignore[union-attr]
    assert terms.metrics["clip_ratio/low_mean"].values.values.tolist() == [0, 0, 0, 1]  # type: ignore[union-attr]


def test_bounds_may_differ_and_lie_in_range() -> None:
    given = sequences([[0.6]], signals={logp("old"): [[0.0]]}, fields={"advantages": [[1.0]]})
    terms = values_of(GMPO(epsilon=0.1, epsilon_high=0.5)(given), "sequence")
    assert terms.tolist() == pytest.approx([-math.exp(0.5)])
    with pytest.raises(ConfigError, match="epsilon"):
        Objective.parse([{"gmpo": {"epsilon": -0.1}}], load())


def test_what_is_clipped_is_counted_on_either_side() -> None:
    # log-ratios beyond -.2 and .5: .6 for A > 0 and -.3 for A < 0, not .4 and -.1
    advantages = [[1.0, 1.0, -1.0, -1.0]]
    given = sequences([[0.6, 0.4, -0.3, -0.1]], signals={logp("old"): [[0.0] * 4]}, fields={"advantages": advantages})
    terms = GMPO(epsilon=0.2, epsilon_high=0.5)(given)
    clips = {name: terms.metrics[f"clip_ratio/{name}_mean"].values for name in ("low", "high")}
    assert {name: one.values.tolist() for name, one in clips.items() if not isinstance(one, torch.Tensor)} == {
        "low": [0, 0, 1, 0],
        "high": [1, 0, 0, 0],
    }


def test_a_mean_beyond_80_nats_is_held() -> None:
    given = sequences([[-1.0]], signals={logp("old"): [[-101.0]]}, fields={"advantages": [[-1.0]]})
    terms = values_of(GMPO()(given), "sequence")
    assert terms.tolist() == pytest.approx([math.exp(80)])
