"""What this package provides."""

from __future__ import annotations

from burnish import RewardRecord, hookimpl


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """One reward, for rows with an `answer` or a `solution`."""
    return [
        RewardRecord(
            name="math",
            target="burnish_math.reward:Math",
            summary="1 where the completion's answer equals the row's `answer`, as mathematics",
            api=1,
        )
    ]
