"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="alphapo",
            target="burnish_alphapo.loss:AlphaPO",
            summary="simpo with a reward of another shape; no reference",
            paper="arXiv:2501.03884",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]
