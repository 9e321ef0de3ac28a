"""What this package provides."""

from __future__ import annotations

from burnish import WeightRecord, hookimpl


@hookimpl
def burnish_weights() -> list[WeightRecord]:
    """One weight, for the terms of any loss."""
    return [
        WeightRecord(
            name="wpo",
            target="burnish_wpo.loss:WPO",
            summary="answers count as much as the policy itself would give them",
            paper="arXiv:2406.11827",
            api=1,
        )
    ]
