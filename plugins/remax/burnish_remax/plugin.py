"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="remax",
            target="burnish_remax.advantage:AgainstGreedy",
            summary="reward minus that of the prompt's greedy completion",
            paper="arXiv:2310.10505",
            api=1,
        )
    ]
