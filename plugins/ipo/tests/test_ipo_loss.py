"""IPO on numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from burnish_ipo.loss import IPO
from burnish_ipo.recipe import ipo

from burnish.errors import ConfigError
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import pairs


def test_the_formula_averages_over_tokens() -> None:
    # r_w / |w| = (.5 + 1.5) / 2 = 1; r_l / |l| = -1 / 1; gap 2; 1 / (2 * .5) = 1; (2 - 1)^2 = 1
    batch = pairs([[-1.0, -2.0]], [[-3.0]], reference=([[-1.5, -3.5]], [[-2.0]]))
    terms = values_of(IPO(beta=0.5)(batch), "pair")
    assert terms.tolist() == pytest.approx([1.0])
    chosen, rejected = torch.autograd.grad(terms.sum(), [batch.chosen.logp.values, batch.rejected.logp.values])
    assert chosen.tolist() == pytest.approx([1.0, 1.0])  # 2 * (gap - 1) / |w|
    assert rejected.tolist() == pytest.approx([-2.0])


def test_a_policy_that_is_its_reference() -> None:
    batch = pairs([[-1.0]], [[-3.0, -1.0]], reference=([[-1.0]], [[-3.0, -1.0]]))
    terms = values_of(IPO(beta=0.2)(batch), "pair")
    assert terms.tolist() == pytest.approx([1 / (4 * 0.2**2)])


def test_the_minimum_is_at_a_finite_gap() -> None:
    batch = pairs([[-1.0]], [[-3.0]], reference=([[-3.0]], [[-3.0]]))
    terms = values_of(IPO(beta=0.25)(batch), "pair")  # 1 / (2 * .25) = 2, the gap
    assert terms.tolist() == [0.0]


def test_logged_rewards_are_sums_scaled_by_beta() -> None:
    # r_w = .5 + 1.5 = 2, r_l = -1
    metrics = IPO(beta=0.5)(pairs([[-1.0, -2.0]], [[-3.0]], reference=([[-1.5, -3.5]], [[-2.0]]))).metrics
    logged = [metrics[f"rewards/{name}"].values for name in ("chosen", "rejected")]
    assert [values.tolist() for values in logged if isinstance(values, torch.Tensor)] == [[1.0], [-0.5]]


def test_options_out_of_range_are_refused_and_the_recipe_is_an_objective() -> None:
    with pytest.raises(ConfigError, match="beta"):
        Objective.parse([{"ipo": {"beta": 0}}], load())
    [part] = Objective.parse(ipo(beta=0.3)["objective"], load()).entries
    assert part.loss == IPO(beta=0.3)


def test_a_margin_is_asked_for_on_top() -> None:
    # gap 2, as above; (.5 + .25) / .5 = 1.5; (2 - 1.5)^2 = .25
    batch = pairs([[-1.0, -2.0]], [[-3.0]], reference=([[-1.5, -3.5]], [[-2.0]]), scalars={"margin": [0.25]})
    terms = values_of(IPO(beta=0.5)(batch), "pair")
    assert terms.tolist() == pytest.approx([0.25])
