"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="robust",
            target="burnish_robust_dpo.loss:Robust",
            summary="logistic loss made unbiased for preferences that are flipped at a known rate",
            paper="arXiv:2403.00409",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]
