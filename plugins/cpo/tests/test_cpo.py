"""CPO: each form by hand, degenerate cases, direction of the gradients, refusals, recipe."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from burnish_cpo.loss import CPO
from burnish_cpo.recipe import cpo

from burnish.objective import Pairs
from burnish.testing import pairs


def batch() -> Pairs:
    """One pair: sums -2 and -3, means -1 and -1.5."""
    return pairs([[-0.5, -1.5]], [[-1.0, -2.0]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"form": "sigmoid"}, 0.4740770),  # log(1 + e^(-.5 * 1))
        ({"form": "sigmoid", "label_smoothing": 0.1}, 0.5240770),  # .9 * .4740770 + .1 * .9740770
        ({"form": "hinge"}, 0.5),  # 1 - .5 * 1
        ({"form": "ipo"}, 0.25),  # (.5 - 1 / (2 * .5))^2: means, not sums
    ],
)
def test_a_pair_by_hand(options: dict[str, Any], expected: float) -> None:
    assert CPO(beta=0.5, **options)(batch()).pair.tolist() == pytest.approx([expected], abs=1e-7)


@pytest.mark.parametrize(
    ("form", "chosen", "rejected"), [("sigmoid", -0.5, -0.75), ("hinge", -0.5, -0.75), ("ipo", -0.25, -0.375)]
)
def test_logged_rewards_are_scores_scaled_by_beta(form: Any, chosen: float, rejected: float) -> None:
    # .25 times the sums -2 and -3, or the means -1 and -1.5
    metrics = CPO(beta=0.25, form=form)(batch()).metrics
    assert metrics["rewards/chosen"].values.tolist() == [chosen]
    assert metrics["rewards/rejected"].values.tolist() == [rejected]


def test_equally_likely_answers() -> None:
    same = pairs([[-1.0]], [[-1.0]])
    losses = [CPO(beta=0.5, form=form)(same).pair.item() for form in ("sigmoid", "hinge", "ipo")]
    assert losses == pytest.approx([math.log(2), 1.0, 1.0])


@pytest.mark.parametrize("form", ["sigmoid", "hinge", "ipo"])
def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer(form: Any) -> None:
    one = batch()
    loss = CPO(form=form)(one).pair
    chosen, rejected = torch.autograd.grad(loss.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("label_smoothing", 0.5), ("label_smoothing", -0.1)])
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        CPO(**{field: value})


def test_refuses_label_smoothing_where_the_form_has_none() -> None:
    with pytest.raises(ValueError, match="hinge"):
        CPO(form="hinge", label_smoothing=0.1)


def test_the_recipe_learns_the_chosen_answers_too() -> None:
    assert cpo(form="hinge", alpha=0.5)["objective"] == [
        {"cpo": {"beta": 0.1, "form": "hinge"}},
        {"sft": {"on": "chosen", "weight": 0.5}},
    ]
