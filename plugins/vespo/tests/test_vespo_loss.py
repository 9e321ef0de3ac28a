"""VESPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_vespo.loss import VESPO

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective import Sequences
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def phi(log_w: float, k: float, rate: float) -> float:
    return math.exp(rate + k * log_w - rate * math.exp(log_w))


def batch(moved: list[float], mismatch: list[float], advantage: float) -> Sequences:
    """lp = -1 at every token; lo = lp - moved, ls = lo - mismatch."""
    lo = [-1.0 - one for one in moved]
    ls = [one - other for one, other in zip(lo, mismatch, strict=True)]
    return sequences(
        [[-1.0] * len(moved)],
        signals={logp("old"): [lo], logp("behaviour"): [ls]},
        fields={"advantages": [[advantage] * len(moved)]},
    )


@pytest.mark.parametrize(("advantage", "k", "rate"), [(2.0, 2.0, 3.0), (-2.0, 3.0, 2.0)])
def test_phi_of_the_sequence_by_the_sign_of_the_advantage(advantage: float, k: float, rate: float) -> None:
    # log w = .3 - .1 + .2 = .4; L = -phi A lp = phi A, d/dlp = -phi A
    given = batch([0.3, -0.1], [0.2, 0.0], advantage)
    terms = values_of(VESPO()(given), "token")
    expected = phi(0.4, k, rate) * advantage
    assert terms.values.tolist() == pytest.approx([expected, expected])
    [found] = torch.autograd.grad(terms.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([-expected, -expected])


@pytest.mark.parametrize(
    ("correction", "log_w"),
    [("truncate", math.log(3) - 0.1), ("mask", math.log(1e-8)), ("none", 0.0)],  # -18.4 - .1 is held at log 1e-8
)
def test_corrections_of_the_sampler(correction: str, log_w: float) -> None:
    """One token is 5 nats above the sampler, far beyond log 3; the other one .1 below."""
    terms = values_of(VESPO(correction=correction)(batch([0.0, 0.0], [5.0, -0.1], 1.0)), "token")  # type: ignore[arg-type]
    assert terms.values.tolist() == pytest.approx([phi(log_w, 2, 3)] * 2, rel=1e-6, abs=1e-12)


def test_far_ratios_are_held() -> None:
    # 30 nats count as 20, and two such tokens together as 20: phi underflows to 0; -30 and -30: log 1e-8
    for moved, log_w in (([30.0, 30.0], 20.0), ([-30.0, -30.0], math.log(1e-8))):
        terms = values_of(VESPO(correction="none")(batch(moved, [0.0, 0.0], 1.0)), "token")
        assert terms.values.tolist() == pytest.approx([phi(log_w, 2, 3)] * 2)


@pytest.mark.parametrize("options", [{"k_pos": -1}, {"lambda_neg": 0}, {"cap": 0}, {"correction": "clip"}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Objective.parse([{"vespo": options}], load())


def test_without_correction_the_sampler_is_not_asked() -> None:
    assert logp("behaviour") not in VESPO(correction="none").signals()


def test_a_mask_leaves_what_is_below_the_cap() -> None:
    terms = VESPO(correction="mask")(batch([0.0, 0.0], [0.1, 0.0], 1.0))  # log w = .1
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == pytest.approx([phi(0.1, 2, 3)] * 2)
    assert terms.metrics["vespo/phi_seq_mean"].values.tolist() == pytest.approx([phi(0.1, 2, 3)])  # type: ignore[union-attr]


def test_ratios_that_cancel_are_held_before_they_are_added() -> None:
    terms = values_of(VESPO(correction="none")(batch([30.0, -20.5], [0.0, 0.0], 1.0)), "token")  # 20 - 20, not 9.5
    assert terms.values.tolist() == pytest.approx([phi(0.0, 2, 3)] * 2)


def test_an_advantage_of_nothing_counts_as_positive() -> None:
    found = VESPO()(batch([0.3], [0.0], 0.0)).metrics["vespo/phi_seq_mean"].values
    assert found.tolist() == pytest.approx([phi(0.3, 2, 3)])  # type: ignore[union-attr]


def test_a_sequence_far_below_is_held() -> None:
    terms = values_of(VESPO(correction="none", k_pos=0.1)(batch([-20.0, -20.0], [0.0, 0.0], 1.0)), "token")
    assert terms.values.tolist() == pytest.approx([phi(math.log(1e-8), 0.1, 3)] * 2)
