"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="luspo",
            target="burnish_luspo.loss:LUSPO",
            summary="one clipped ratio per sequence, times the sequence's length",
            paper="arXiv:2602.05261",
            data="trajectory",
            reduction="sequence_mean",
            api=1,
        )
    ]
