"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="dpo_norm",
            target="burnish_dpo_norm.loss:DPONorm",
            summary="logistic loss of the difference of implicit rewards per token",
            paper="arXiv:2411.15124",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]
