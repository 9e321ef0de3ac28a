"""What is asked of which weights before training on trajectories."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from burnish.config.sections import RolloutSection
from burnish.data.units import Mask, Sequence
from burnish.engine.recording import Recorder
from burnish.model.signals import Signal
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.rollout.contract import Capabilities, Episode, Span
from burnish.rollout.sampler import Completion
from burnish.rollout.trajectory import Origin, Trajectory


def drawn(member: int, versions: list[int]) -> Trajectory:
    """An answer of three ids, each with the version that drew it; the sampler said -1 to all of them."""
    answer = Completion([4, 5, 6], [-1.0] * 3, finished=True, versions=versions)
    spans = (Span(ids=(1, 2)), Span(ids=(4, 5, 6), sampled=answer))
    return Trajectory.of(Origin("main", 0, 0, 0, member), Episode(spans=spans), version=0)


@pytest.mark.parametrize(
    ("sampling", "asked"),
    [
        ({}, False),
        ({"temperature": 0.7}, False),
        ({"top_k": 5}, True),
        ({"top_p": 0.9}, True),
        ({"min_p": 0.1}, True),
        ({"repetition_penalty": 1.2}, True),
    ],
)
def test_a_divergence_is_between_the_models_own_distributions(sampling: dict[str, float], asked: bool) -> None:
    """What cuts or bends a distribution makes the sampler's log-probabilities others than the policy's; a temperature does not,
    since both are read at it."""
    roles: list[str] = []

    def score(role: str, sequences: list[Sequence], masks: list[Mask], signals: tuple[Signal, ...], budget: int) -> Any:
        roles.append(role)
        return [{signal: np.full(np.count_nonzero(mask), -2.0) for signal in signals} for mask in masks]

    runner: Any = SimpleNamespace(roles=SimpleNamespace(score_frozen=score), budget=8)
    section = RolloutSection.model_validate({"kl_in_reward": {"beta": 0.1}, "sampling": sampling})
    recorder = Recorder(Objective.parse([{"reinforce": {}}], load()), runner, False, section, Capabilities(live=True))
    recorder([drawn(0, [0, 0, 0])], False, 0)
    assert "reference" in roles
    assert ("old" in roles) is asked


@pytest.mark.parametrize(("version", "asked"), [(3, 2), (4, 1), (5, 0)])
def test_weights_are_asked_for_what_they_drew_alone(version: int, asked: int) -> None:
    scored: list[Sequence] = []

    def score(role: str, sequences: list[Sequence], masks: list[Mask], signals: tuple[Signal, ...], budget: int) -> Any:
        scored.extend(sequences)
        return [{signal: np.full(np.count_nonzero(mask), -2.0) for signal in signals} for mask in masks]

    runner: Any = SimpleNamespace(roles=SimpleNamespace(score_frozen=score), budget=8)
    objective = Objective.parse([{"grpo": {}}], load())
    recorder = Recorder(objective, runner, False, RolloutSection(max_staleness=2), Capabilities())
    found = recorder([drawn(0, [3, 3, 4]), drawn(1, [3, 3, 3])], False, version)
    assert len(scored) == asked
    for one in found:
        now = [-2.0 if drew >= version else -1.0 for drew in one.versions[one.own]]
        assert one.tokens["old"].tolist() == [0.0, 0.0, *now]
