"""TPO: each form by hand, degenerate cases, direction of the gradients, refusals, recipes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from burnish_tpo.loss import TPO, TPOL
from burnish_tpo.recipe import tpo, tpo_l

from burnish.objective import Triples
from burnish.testing import triples


def batch() -> Triples:
    """One triple: sums -2 and -3, means -1 and -1.5; and a gold answer that the contrast ignores."""
    return triples([[-0.5, -1.5]], [[-1.0, -2.0]], [[-7.0]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"form": "sigmoid"}, 0.4740770),  # log(1 + e^(-.5 * 1))
        ({"form": "sigmoid", "label_smoothing": 0.1}, 0.5240770),  # .9 * .4740770 + .1 * .9740770
        ({"form": "hinge"}, 0.5),  # 1 - .5 * 1
        ({"form": "ipo"}, 0.25),  # (.5 - 1 / (2 * .5))^2: means, not sums
    ],
)
def test_a_triple_by_hand(options: dict[str, Any], expected: float) -> None:
    assert TPO(beta=0.5, **options)(batch()).pair.tolist() == pytest.approx([expected], abs=1e-7)


def test_means_with_a_margin_by_hand() -> None:
    # h = 2 * (-1 + 1.5) - .5 = .5; with e = .1: .9 * .4740770 + .1 * .9740770
    assert TPOL(beta=2.0)(batch()).pair.tolist() == pytest.approx([0.4740770], abs=1e-7)
    assert TPOL(beta=2.0, label_smoothing=0.1)(batch()).pair.tolist() == pytest.approx([0.5240770], abs=1e-7)


@pytest.mark.parametrize(
    ("form", "chosen", "rejected"), [("sigmoid", -0.5, -0.75), ("hinge", -0.5, -0.75), ("ipo", -0.25, -0.375)]
)
def test_logged_rewards_are_scores_scaled_by_beta(form: Any, chosen: float, rejected: float) -> None:
    # .25 times the sums -2 and -3, or the means -1 and -1.5
    metrics = TPO(beta=0.25, form=form)(batch()).metrics
    assert metrics["rewards/chosen"].values.tolist() == [chosen]
    assert metrics["rewards/rejected"].values.tolist() == [rejected]


def test_logged_rewards_of_tpo_l_are_means_scaled_by_beta() -> None:
    # .25 * -1 and .25 * -1.5
    metrics = TPOL(beta=0.25)(batch()).metrics
    assert metrics["rewards/chosen"].values.tolist() == [-0.25]
    assert metrics["rewards/rejected"].values.tolist() == [-0.375]


def test_equally_likely_answers() -> None:
    same = triples([[-1.0]], [[-1.0]], [[-1.0]])
    losses = [TPO(beta=0.5, form=form)(same).pair.item() for form in ("sigmoid", "hinge", "ipo")]
    assert losses == pytest.approx([math.log(2), 1.0, 1.0])
    assert TPOL(gamma=1.0)(same).pair.tolist() == pytest.approx([math.log(1 + math.e)])


@pytest.mark.parametrize("loss", [TPO(), TPO(form="hinge"), TPO(form="ipo"), TPOL()])
def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer(loss: Any) -> None:
    one = batch()
    chosen, rejected = torch.autograd.grad(loss(one).pair.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert (chosen < 0).all()
    assert (rejected > 0).all()


@pytest.mark.parametrize(
    ("loss", "field", "value"),
    [
        (TPO, "beta", 0.0),
        (TPO, "label_smoothing", 0.5),
        (TPOL, "beta", 0.0),
        (TPOL, "gamma", -1.0),
        (TPOL, "label_smoothing", -1.0),
    ],
)
def test_refuses_values_out_of_range(loss: type, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        loss(**{field: value})


def test_refuses_label_smoothing_where_the_form_has_none() -> None:
    with pytest.raises(ValueError, match="ipo"):
        TPO(form="ipo", label_smoothing=0.1)


def test_the_recipes_learn_the_gold_answer_too() -> None:
    assert tpo(alpha=0.5)["objective"] == [{"tpo": {"beta": 0.01}}, {"sft": {"on": "gold", "weight": 0.5}}]
    assert tpo_l()["objective"][0] == {"tpo_l": {"beta": 0.01, "gamma": 0.5}}
