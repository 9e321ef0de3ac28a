"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on any sequences."""
    return [
        LossRecord(
            name="entropy",
            target="burnish_entropy.loss:Entropy",
            summary="keeps the policy's distributions wide; the coefficient may follow a target",
            paper="arXiv:2505.22312",
            data="sequence",
            reduction="token_mean",
            api=1,
        )
    ]
