"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on any sequences."""
    return [
        LossRecord(
            name="kl",
            target="burnish_kl.loss:KL",
            summary="divergence from the reference, estimated at the sampled tokens",
            data="sequence",
            reduction="token_mean",
            api=1,
        )
    ]
