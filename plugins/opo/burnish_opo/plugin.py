"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="opo",
            target="burnish_opo.advantage:OptimalBaseline",
            summary="reward minus the group's mean weighted by length",
            paper="arXiv:2505.23585",
            api=1,
        )
    ]
