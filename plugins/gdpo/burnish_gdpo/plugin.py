"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="gdpo",
            target="burnish_gdpo.advantage:Decoupled",
            summary="each reward normalised in its group, summed, normalised over the batch",
            paper="arXiv:2601.05242",
            api=1,
        )
    ]
