"""What this package provides."""

from __future__ import annotations

from burnish import RewardRecord, hookimpl


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """One reward, for rows with unit tests."""
    return [
        RewardRecord(
            name="code",
            target="burnish_code.reward:Code",
            summary="1 where the completion's program passes the row's unit tests, in a sandbox",
            api=1,
        )
    ]
