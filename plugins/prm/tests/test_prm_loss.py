"""The loss of process reward models on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_prm.loss import PRM, RIGHT, WRONG, steps_before
from burnish_prm.recipe import prm

from burnish.objective import Ragged, Sequences
from burnish.objective.compose import Objective
from burnish.objective.reduce import Tally
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import Numbers, sequences


def judged(right: Numbers, labels: Numbers) -> Sequences:
    """Solutions whose steps are right with these probabilities."""
    signals = {
        RIGHT: [[math.log(p) for p in one] for one in right],
        WRONG: [[math.log(1 - p) for p in one] for one in right],
    }
    return sequences([[0.0] * len(one) for one in right], signals=signals, fields={"label": labels})


def values(batch: Sequences) -> list[float]:
    terms = values_of(PRM()(batch), "token")
    return terms.values.tolist()


def test_steps_by_hand() -> None:
    # -log .8, -log(1 - .25), -log .5
    assert values(judged([[0.8, 0.25], [0.5]], [[1.0, 0.0], [1.0]])) == pytest.approx(
        [-math.log(0.8), -math.log(0.75), math.log(2)]
    )


def test_soft_labels() -> None:
    # -.3 log .8 - .7 log .2 = 1.1935496
    assert values(judged([[0.8]], [[0.3]])) == pytest.approx([1.1935496], abs=1e-7)


@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_equal_logits(label: float) -> None:
    assert values(judged([[0.5]], [[label]])) == pytest.approx([math.log(2)])


def test_the_gradient_goes_to_the_label() -> None:
    batch = judged([[0.8, 0.25]], [[1.0, 0.3]])
    terms = values_of(PRM()(batch), "token")
    right, wrong = torch.autograd.grad(terms.sum().sum(), [batch.signal(RIGHT).values, batch.signal(WRONG).values])
    assert right.tolist() == pytest.approx([-1.0, -0.3])
    assert wrong.tolist() == pytest.approx([0.0, -0.7])


def test_metrics() -> None:
    # Steps: right, right (wrong by label), wrong | right, right | wrong, right (by label right, right).
    batch = judged([[0.9, 0.8, 0.1], [0.9, 0.6], [0.2, 0.9]], [[1.0, 0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    logged = {name: Tally.of(metric).value() for name, metric in PRM()(batch).metrics.items()}
    # 5 of 7 steps. First wrong ones: the third, not the second; none, as it is; the first, where there is none.
    assert logged == pytest.approx({"accuracy": 5 / 7, "first_wrong_step": 1 / 3})


def test_the_recipe_and_what_it_scores() -> None:
    every, last = (Objective.parse(prm(flag)["objective"], load()).entries[0] for flag in (False, True))
    assert (every.targets, last.targets, str(every.reduction)) == ("steps", "last_step", "token_mean")


def test_steps_before_the_first_wrong_one() -> None:
    wrong = Ragged(torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 0.0]), torch.tensor([3, 1, 2]))
    assert steps_before(wrong).tolist() == [1.0, 0.0, 2.0]


def test_metrics_of_steps_by_hand() -> None:
    # Found right, wrong, wrong; marked right, right (.6), wrong (.4): two agree. First wrong: the second, against the third.
    metrics = PRM()(judged([[0.8, 0.25, 0.1]], [[1.0, 0.6, 0.4]])).metrics
    accuracy = metrics["accuracy"].values
    assert isinstance(accuracy, Ragged)
    assert accuracy.values.tolist() == [1, 0, 1]
    assert metrics["first_wrong_step"].values.tolist() == [0]  # type: ignore[union-attr]
    assert PRM()(judged([[0.8, 0.25]], [[0.9, 0.3]])).metrics["first_wrong_step"].values.tolist() == [1]  # type: ignore[union-attr]
