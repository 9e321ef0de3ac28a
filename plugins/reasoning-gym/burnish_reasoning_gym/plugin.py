"""What this package provides."""

from __future__ import annotations

from burnish import hookimpl
from burnish.registry.records import EnvironmentRecord, RewardRecord, SourceRecord


@hookimpl
def burnish_sources() -> list[SourceRecord]:
    """One source for all generators."""
    return [
        SourceRecord(
            name="reasoning-gym",
            target="burnish_reasoning_gym.source:ReasoningGym",
            summary="questions with checkable answers: prompts, answers, or pairs of a right and a wrong one",
            api=1,
        )
    ]


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """Two ways to judge an answer to such a question."""
    return [
        RewardRecord(
            name="reasoning_gym",
            target="burnish_reasoning_gym.reward:reasoning_gym",
            summary="what the question's own generator gives the answer, 0 to 1",
            api=1,
        ),
        RewardRecord(
            name="exact_match",
            target="burnish_reasoning_gym.reward:exact_match",
            summary="1 where the completion is the row's `answer` and nothing else",
            api=1,
        ),
    ]


@hookimpl
def burnish_environments() -> list[EnvironmentRecord]:
    """Questions that may be answered again."""
    return [
        EnvironmentRecord(
            name="reasoning-gym",
            target="burnish_reasoning_gym.environment:Questions",
            summary="questions that may be tried again after a wrong answer",
            api=1,
        )
    ]
