"""Trainer and sampler compared: what is measured, corrected and refused."""

from __future__ import annotations

import math

import pytest

from burnish.config.sections import MismatchSection, RolloutSection
from burnish.errors import RunError
from burnish.model.signals import logp
from burnish.objective import Sequences
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.rollout.mismatch import CAP, NAME, Mismatch, check, watched
from burnish.testing import values_of
from burnish.testing.batches import sequences


def batch() -> Sequences:
    # lo - ls: .1, -.5, 2
    return sequences([[-1.0, -1.0, -1.0]], signals={logp("old"): [[-1.0, -1.0, -1.0]], logp("behaviour"): [[-1.1, -0.5, -3.0]]})


def test_it_measures_and_leaves_alone_what_it_is_not_asked_to_correct() -> None:
    terms = Mismatch()(batch())
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == [1.0, 1.0, 1.0]
    assert terms.metrics[f"{NAME}/mean"].values.values.tolist() == pytest.approx([0.1, 0.5, 2.0])  # type: ignore[union-attr]
    assert Mismatch(measures=False)(batch()).metrics == {}


def test_tokens_that_differ_by_the_level_are_weighed_by_the_ratio() -> None:
    terms = Mismatch(correct=0.4)(batch())
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == pytest.approx([1.0, math.exp(-0.5), CAP])  # e^2 is above 3


def test_policy_losses_on_rollouts_are_watched_and_the_first_measures() -> None:
    objective = Objective.parse(
        [{"grpo": {}}, {"reinforce": {"weights": ["is_correction"]}}, {"value": {}}, {"sft": {"source": "other"}}], load()
    )
    found = watched(objective, RolloutSection(mismatch=MismatchSection(correct=0.3)))
    weights = [dict(entry.weights) for entry in found.entries]
    assert [sorted(one) for one in weights] == [["mismatch"], ["is_correction", "mismatch"], [], []]
    assert weights[0]["mismatch"] == Mismatch(correct=0.3, measures=True)
    assert weights[1]["mismatch"] == Mismatch(correct=0.3, measures=False)


def test_the_run_stops_at_its_level_and_says_by_how_much() -> None:
    section = RolloutSection(mismatch=MismatchSection(stop=0.5))
    check(section, {f"{NAME}/mean": 0.49}, 3)
    check(section, {}, 3)
    check(RolloutSection(), {f"{NAME}/mean": 9.0}, 3)
    check(None, {f"{NAME}/mean": 9.0}, 3)
    with pytest.raises(RunError, match=r"step 3: trainer and sampler differ by 0\.75 nats a token on average"):
        check(section, {f"{NAME}/mean": 0.75}, 3)
