"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="reinforce",
            target="burnish_reinforce.loss:Reinforce",
            summary="log-probability times advantage",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]
