"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="gae",
            target="burnish_gae.advantage:GAE",
            summary="discounted sums of what a value head did not foresee",
            paper="arXiv:1506.02438",
            api=1,
        )
    ]
