"""Losses of reward models on numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from burnish_reward.loss import BradleyTerry, Ordinal, Regression
from burnish_reward.recipe import reward

from burnish.errors import ConfigError, ObjectiveError
from burnish.model.signals import score
from burnish.objective import Pairs, Sequences, Terms
from burnish.objective.compose import Objective
from burnish.objective.reduce import Tally
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import pairs, sequences


def scored_pairs(chosen: list[float], rejected: list[float], **scalars: list[float]) -> Pairs:
    sides = tuple([[number] for number in numbers] for numbers in (chosen, rejected))
    nothing = [[0.0]] * len(chosen)
    return pairs(nothing, nothing, signals={score(): sides}, scalars=scalars)  # type: ignore[dict-item]


def scored(numbers: list[float], ratings: list[float]) -> Sequences:
    signals = {score(): [[number] for number in numbers]}
    return sequences([[0.0]] * len(numbers), signals=signals, scalars={"rating": ratings})


def added(terms: Terms) -> torch.Tensor:
    """The sum of terms per sequence."""
    per_sequence = values_of(terms, "sequence")
    return per_sequence.sum()


def values(terms: Any) -> list[float]:
    found = terms.pair if terms.pair is not None else terms.sequence
    return [float(value.detach()) for value in found]


def test_bradley_terry_by_hand() -> None:
    # R_w - R_l - m = 2 - .5 - 1 = .5: log(1 + e^-.5) = .4740770; without a margin 1.5: log(1 + e^-1.5) = .2014133
    # .1 * (2 + .5)^2 = .625
    assert values(BradleyTerry(center=0.1)(scored_pairs([2.0], [0.5], margin=[1.0]))) == pytest.approx([0.4740770 + 0.625])
    assert values(BradleyTerry()(scored_pairs([2.0], [0.5]))) == pytest.approx([0.2014133], abs=1e-7)


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected() -> None:
    batch = scored_pairs([2.0], [0.5])
    inputs = [view.signal(score()).values for view in (batch.chosen, batch.rejected)]
    terms = values_of(BradleyTerry(center=0.1)(batch), "pair")
    chosen, rejected = torch.autograd.grad(terms.sum(), inputs)
    # -sigmoid(-1.5) = -.1824255 and its negative; both + 2 * .1 * 2.5 = .5
    assert [chosen.item(), rejected.item()] == pytest.approx([0.5 - 0.1824255, 0.5 + 0.1824255], abs=1e-7)


def test_equal_scores() -> None:
    assert values(BradleyTerry(center=0.5)(scored_pairs([3.0], [3.0]))) == pytest.approx([math.log(2) + 4 * 0.5 * 9])


def test_metrics_of_pairs() -> None:
    metrics = BradleyTerry()(scored_pairs([2.0, 0.0], [0.5, 0.0])).metrics
    logged = {name: Tally.of(metric).value() for name, metric in metrics.items()}
    expected = {"accuracy": 0.5, "margin": 0.75, "min_reward": 0.0, "mean_reward": 0.625, "max_reward": 2.0}
    assert logged == pytest.approx(expected)  # a tie is not won


def test_regression_by_hand() -> None:
    batch = scored([1.0, 4.0], [3.0, 3.5])
    terms = Regression()(batch)
    assert values(terms) == [4.0, 0.25]
    assert Tally.of(terms.metrics["mae"]).value() == 1.25
    [gradient] = torch.autograd.grad(added(terms), batch.signal(score()).values)
    assert gradient.tolist() == [-4.0, 1.0]


def test_ordinal_by_hand() -> None:
    # Levels 1, 2, 3, thresholds -1 and 2, R = 1: P(1) = s(-2) = .1192029, P(2) = s(1) - s(-2) = .6118557, P(3) = s(-1)
    loss = Ordinal(levels=(1.0, 2.0, 3.0), thresholds=(-1.0, 2.0))
    terms = loss(scored([1.0] * 3, [1.0, 2.0, 3.0]))
    assert [math.exp(-value) for value in values(terms)] == pytest.approx([0.1192029, 0.6118557, 0.2689414], abs=1e-7)
    assert Tally.of(terms.metrics["accuracy"]).value() == pytest.approx(1 / 3)  # 1 lies between -1 and 2: the second level


def test_a_score_of_nothing_finds_all_ratings_equally_likely() -> None:
    assert values(Ordinal()(scored([0.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]))) == pytest.approx([math.log(5)] * 5)


def test_ordinal_far_out_stays_finite_and_pulls_back() -> None:
    batch = scored([300.0, -300.0], [3.0, 3.0])
    terms = Ordinal()(batch)
    [gradient] = torch.autograd.grad(added(terms), batch.signal(score()).values)
    # Between thresholds t2 = log(2/3), t3 = log(3/2): L = R - t3 and t2 - R up to log(1 - e^(t2 - t3)) = log(5/9)
    expected = [300 - math.log(3 / 2) - math.log(5 / 9), math.log(2 / 3) + 300 - math.log(5 / 9)]
    assert values(terms) == pytest.approx(expected)
    assert gradient.tolist() == pytest.approx([1.0, -1.0])


def test_two_levels_are_a_logistic_regression() -> None:
    # One threshold, log(1 / 1) = 0: -log s(R) of the upper, -log s(-R) of the lower level
    found = values(Ordinal(levels=(0.0, 1.0))(scored([2.0, 2.0], [1.0, 0.0])))
    assert found == pytest.approx([math.log1p(math.exp(-2)), math.log1p(math.exp(2))])


def test_a_rating_of_no_level_is_refused() -> None:
    with pytest.raises(ObjectiveError, match=r"a rating is 2\.5.*set `levels`"):
        Ordinal()(scored([0.0], [2.5]))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"bradley_terry": {"center": -1.0}}, "center must be"),
        ({"ordinal": {"levels": [1.0]}}, "at least two"),
        ({"ordinal": {"levels": [2.0, 1.0]}}, "ascend"),
        ({"ordinal": {"thresholds": [0.0, 1.0]}}, "must be 4"),
        ({"ordinal": {"thresholds": [0.0, 1.0, 3.0, 2.0]}}, "ascend"),
    ],
)
def test_refusals(item: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Objective.parse([item], load())


def test_all_read_the_end_and_the_recipe_is_an_objective() -> None:
    parts = Objective.parse(["regression", "ordinal", *reward(center=0.2)["objective"]], load()).entries
    assert [part.targets for part in parts] == ["end"] * 3
    assert parts[-1].loss == BradleyTerry(center=0.2)


def test_metrics_of_ratings() -> None:
    # Scores 2 and -1 against ratings 3 and 1: off by 1 and 2.
    metrics = Regression()(scored([2.0, -1.0], [3.0, 1.0])).metrics
    logged = {name: Tally.of(metric).value() for name, metric in metrics.items()}
    assert logged == pytest.approx({"mae": 1.5, "min_reward": -1.0, "mean_reward": 0.5, "max_reward": 2.0})


def test_a_rating_is_found_where_the_score_lies_between_its_thresholds() -> None:
    # Thresholds -1 and 2: -3 lies in the first level, 0 and 1 in the second, 4 in the third; marked 1, 2, 3, 3.
    loss = Ordinal(levels=(1.0, 2.0, 3.0), thresholds=(-1.0, 2.0))
    found = loss(scored([-3.0, 0.0, 1.0, 4.0], [1.0, 2.0, 3.0, 3.0])).metrics["accuracy"].values
    assert found.tolist() == [1, 1, 0, 1]  # type: ignore[union-attr]
