"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="rloo",
            target="burnish_rloo.advantage:LeaveOneOut",
            summary="reward minus the mean of the group's other rewards",
            paper="arXiv:2402.14740",
            api=1,
        )
    ]
