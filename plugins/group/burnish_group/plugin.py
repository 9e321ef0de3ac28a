"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="group",
            target="burnish_group.advantage:GroupRelative",
            summary="reward minus the group's mean, in its standard deviations",
            paper="arXiv:2402.03300",
            api=1,
        )
    ]
