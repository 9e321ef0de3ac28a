"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="gfpo",
            target="burnish_gfpo.advantage:BestOfGroup",
            summary="the best completions of a group, relative to each other",
            paper="arXiv:2508.09726",
            api=1,
        )
    ]
