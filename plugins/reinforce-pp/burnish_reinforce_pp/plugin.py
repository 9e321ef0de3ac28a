"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="reinforce_pp",
            target="burnish_reinforce_pp.advantage:GloballyWhitened",
            summary="what is still to be earned, whitened over all tokens of the batch",
            paper="arXiv:2501.03262",
            api=1,
        )
    ]
