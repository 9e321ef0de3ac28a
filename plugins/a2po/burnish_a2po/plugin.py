"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="a2po",
            target="burnish_a2po.loss:A2PO",
            summary="squared distance of the implicit reward from the optimal advantage",
            paper="arXiv:2505.20686",
            data="trajectory",
            reduction="sequence_mean",
            api=1,
        )
    ]
