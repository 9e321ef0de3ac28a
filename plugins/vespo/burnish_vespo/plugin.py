"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="vespo",
            target="burnish_vespo.loss:VESPO",
            summary="policy gradient weighed by a smooth function of the sequence's ratio",
            paper="arXiv:2602.10693",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]
