"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="cispo",
            target="burnish_cispo.loss:CISPO",
            summary="policy gradient weighed by capped, detached ratios",
            paper="arXiv:2506.13585",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]
