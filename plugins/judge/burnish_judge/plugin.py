"""What this package provides."""

from __future__ import annotations

from burnish import RewardRecord, hookimpl


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """One reward."""
    return [
        RewardRecord(
            name="judge",
            target="burnish_judge.reward:Judge",
            summary="the score that a language model behind an endpoint gives by a rubric, from 0 to 1",
            time_limit=600.0,
            api=1,
        )
    ]
