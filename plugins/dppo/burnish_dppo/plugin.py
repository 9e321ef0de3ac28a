"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="dppo",
            target="burnish_dppo.loss:DPPO",
            summary="policy gradient without tokens that have moved too far from the sampler",
            paper="arXiv:2602.04879",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]
