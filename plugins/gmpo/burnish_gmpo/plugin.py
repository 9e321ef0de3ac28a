"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="gmpo",
            target="burnish_gmpo.loss:GMPO",
            summary="geometric mean of a sequence's clipped ratios",
            paper="arXiv:2507.20673",
            data="trajectory",
            reduction="sequence_mean",
            api=1,
        )
    ]
