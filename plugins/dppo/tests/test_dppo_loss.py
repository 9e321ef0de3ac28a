"""DPPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_dppo.loss import DPPO

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective import Terms
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing.batches import sequences


def run(p: float, q: float, advantage: float, **options: object) -> tuple[float, float, Terms]:
    """The term of one token with these probabilities under the policy and the sampler, and its gradient."""
    given = sequences([[math.log(p)]], signals={logp("behaviour"): [[math.log(q)]]}, fields={"advantages": [[advantage]]})
    terms = DPPO(**options)(given)  # type: ignore[arg-type]
    assert terms.token is not None
    [found] = torch.autograd.grad(terms.token.values.sum(), [given.logp.values])
    return float(terms.token.values.detach()), float(found), terms


@pytest.mark.parametrize(
    ("p", "q", "advantage", "kept"),
    [
        (0.5, 0.4, 1.0, True),  # .1 apart
        (0.6, 0.4, 1.0, False),  # .2 apart, and pushed further up
        (0.6, 0.4, -1.0, True),  # pushed back
        (0.4, 0.6, -1.0, False),
        (0.4, 0.6, 1.0, True),
    ],
)
def test_tokens_that_have_moved_far_are_not_pushed_further(p: float, q: float, advantage: float, kept: bool) -> None:
    loss, slope, terms = run(p, q, advantage)
    assert loss == pytest.approx(-kept * p / q * advantage * math.log(p))
    assert slope == pytest.approx(-kept * p / q * advantage)
    dropped = terms.metrics["mask_ratio/overall_mean"].values
    assert dropped.values.tolist() == [not kept]  # type: ignore[union-attr]


def test_the_divergence_of_two_outcomes() -> None:
    # q = .4, p = .5: .4 log(.4 / .5) + .6 log(.6 / .5) = .0201; q = .4, p = .6: .0811
    assert run(0.5, 0.4, 1.0, divergence="binary_kl", threshold=0.0202)[1] == pytest.approx(-1.25)
    assert run(0.5, 0.4, 1.0, divergence="binary_kl", threshold=0.0201)[1] == 0
    assert run(0.6, 0.4, 1.0, divergence="binary_kl", threshold=0.0812)[1] == pytest.approx(-1.5)
    assert run(0.6, 0.4, 1.0, divergence="binary_kl", threshold=0.081)[1] == 0


def test_weights_are_capped() -> None:
    assert run(0.1, 0.001, 1.0)[1] == pytest.approx(-20.0)  # p / q = 100
    assert run(0.1, 0.001, 1.0, cap=3.0)[1] == pytest.approx(-3.0)


@pytest.mark.parametrize("options", [{"threshold": -0.1}, {"cap": 0}, {"divergence": "topk_tv"}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Objective.parse([{"dppo": options}], load())


@pytest.mark.parametrize(
    ("p", "q", "advantage", "positive", "negative"), [(0.6, 0.4, 0.5, 1, 0), (0.4, 0.6, -0.5, 0, 1), (0.5, 0.4, 0.5, 0, 0)]
)
def test_what_is_dropped_is_counted_by_the_sign_of_its_advantage(
    p: float, q: float, advantage: float, positive: int, negative: int
) -> None:
    loss, _, terms = run(p, q, advantage)
    assert loss == pytest.approx(-(1 - positive - negative) * p / q * advantage * math.log(p))
    shares = [terms.metrics[f"mask_ratio/{sign}_adv_mean"].values for sign in ("positive", "negative")]
    assert [one.values.tolist() for one in shares if not isinstance(one, torch.Tensor)] == [[positive], [negative]]
    distances = [terms.metrics[f"prob_diff/{how}"].values for how in ("mean", "max")]
    assert [one.values.tolist() for one in distances if not isinstance(one, torch.Tensor)] == [pytest.approx([abs(p - q)])] * 2
